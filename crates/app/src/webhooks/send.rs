//! One POST to an address that somebody else chose.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use url::{Host, Url};

use super::Reach;
use super::address::is_public;

/// For the look-up of the name and the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a receiver may put us off.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What is sent.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) timestamp: u64,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// How a delivery failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Worth trying again.
    Later { why: String, after: Option<Duration> },
    /// Never again: the address is not allowed, or the receiver is gone for good.
    Never(String),
}

fn later(why: impl std::fmt::Display) -> Failure {
    Failure::Later { why: why.to_string(), after: None }
}

/// The name is resolved once, every address is judged, and the connection goes to one of those: no second look-up can lead
/// elsewhere. Redirects and proxies are not followed, the answer's body is not read.
pub(super) async fn send(url: &str, message: Message, reach: Reach) -> Result<(), Failure> {
    within(TIMEOUT, exchange(url, message, reach)).await
}

async fn within(limit: Duration, exchange: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let late = |_| Err(later(format!("no answer within {} s", limit.as_secs())));
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(late)
}

async fn exchange(url: &str, message: Message, reach: Reach) -> Result<(), Failure> {
    let url: Url = url.parse().map_err(|error| Failure::Never(format!("it is no URL: {error}")))?;
    let (name, addresses) = resolve(&url, reach).await?;
    let mut client = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .user_agent(concat!("windrow/", env!("CARGO_PKG_VERSION")));
    if let Some(name) = name {
        client = client.resolve_to_addrs(&name, &addresses);
    }
    let client = client.build().map_err(later)?;
    let answer = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", message.id)
        .header("webhook-timestamp", message.timestamp.to_string())
        .header("webhook-signature", message.signature)
        .body(message.body)
        .send()
        .await
        // the URL may hold the receiver's own secret: it stays out of what is kept
        .map_err(|error| later(error.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    if status == reqwest::StatusCode::GONE {
        return Err(Failure::Never("the receiver is gone for good (410)".to_owned()));
    }
    let seconds =
        answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let after = seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    Err(Failure::Later { why: format!("the receiver answered {status}"), after })
}

/// The name to be pinned, if it is one, and where it leads.
async fn resolve(url: &Url, reach: Reach) -> Result<(Option<String>, Vec<SocketAddr>), Failure> {
    let port = url.port_or_known_default().unwrap_or(443);
    let (name, addresses): (Option<String>, Vec<SocketAddr>) = match url.host() {
        Some(Host::Ipv4(v4)) => (None, vec![(IpAddr::V4(v4), port).into()]),
        Some(Host::Ipv6(v6)) => (None, vec![(IpAddr::V6(v6), port).into()]),
        Some(Host::Domain(name)) => {
            let found = tokio::net::lookup_host((name, port)).await;
            (Some(name.to_owned()), found.map_err(later)?.collect())
        }
        None => return Err(Failure::Never("the URL names no host".to_owned())),
    };
    if addresses.is_empty() {
        return Err(later("the name has no address"));
    }
    match addresses.iter().find(|address| reach == Reach::Internet && !is_public(address.ip())) {
        Some(address) => {
            Err(Failure::Never(format!("{} is no address of the public internet", address.ip())))
        }
        None => Ok((name, addresses)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_never_found_takes_no_longer_than_the_rest() {
        let late = within(Duration::from_millis(10), std::future::pending()).await;
        assert!(matches!(late, Err(Failure::Later { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn private_addresses_are_refused_by_number_and_by_name() {
        for url in [
            "http://127.0.0.1:9/",
            "http://2130706433:9/",
            "http://0x7f.1:9/",
            "http://[::1]:9/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://localhost:9/",
        ] {
            let refused = resolve(&url.parse().unwrap(), Reach::Internet).await;
            assert!(matches!(refused, Err(Failure::Never(_))), "{url}: {refused:?}");
        }
        assert!(resolve(&"http://127.0.0.1:9/".parse().unwrap(), Reach::Anywhere).await.is_ok());
    }
}
