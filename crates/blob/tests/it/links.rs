use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use url::Url;
use windrow_blob::{
    BlobStore, DownloadOptions, Grant, GrantError, PutGrant, SignedRequest, SigningKey, UploadOptions,
};
use windrow_core::{TestClock, UploadId};

use crate::{Fixture, SALT, fixture, key, settings};

fn download() -> DownloadOptions {
    DownloadOptions {
        expires_in: Duration::from_secs(60),
        file_name: Some("Größe & mehr.csv".into()),
        content_type: Some("text/csv; charset=utf-8".into()),
    }
}

/// What a server sees: the decoded key and the raw query.
fn received(request: &SignedRequest) -> (String, String) {
    let url: Url = request.url.parse().unwrap();
    let key = url.path().strip_prefix("/base/blobs/").expect("the public URL's path stays").to_owned();
    (key, url.query().unwrap().to_owned())
}

fn verify(store: &BlobStore, method: &Method, request: &SignedRequest) -> Result<Grant, GrantError> {
    let (key, query) = received(request);
    store.verify(method, &key, &query)
}

async fn signed(fixture: &Fixture) -> SignedRequest {
    fixture.store.sign_get(&key("a.csv"), &download()).await.unwrap()
}

#[tokio::test]
async fn a_download_link_says_what_it_is_for() {
    let fixture = fixture();
    let request = signed(&fixture).await;
    assert!(request.url.starts_with("https://windrow.example/base/blobs/outputs/"), "{}", request.url);
    assert_eq!((request.method.as_str(), request.headers.len()), ("GET", 0));
    let expected = Grant::Get {
        key: key("a.csv"),
        disposition: Some(
            "attachment; filename=\"Gr__e & mehr.csv\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20&%20mehr.csv"
                .into(),
        ),
        content_type: Some("text/csv; charset=utf-8".into()),
    };
    assert_eq!(verify(&fixture.store, &Method::GET, &request), Ok(expected.clone()));
    assert_eq!(verify(&fixture.store, &Method::HEAD, &request), Ok(expected));
}

#[tokio::test]
async fn an_upload_link_carries_its_constraints() {
    let fixture = fixture();
    let upload = UploadId::new(&*fixture.clock);
    let options = UploadOptions {
        expires_in: Duration::from_secs(900),
        content_type: Some("application/pdf".into()),
        max_size: 1000,
        upload: Some(upload),
        once: true,
        source_type: Some("translate".into()),
    };
    let request = fixture.store.sign_put(&key("a"), &options).await.unwrap();
    assert_eq!(request.method, "PUT");
    assert_eq!(request.headers, [("content-type".to_owned(), "application/pdf".to_owned())].into());
    let Ok(Grant::Put(grant)) = verify(&fixture.store, &Method::PUT, &request) else { panic!() };
    let expected = PutGrant {
        key: key("a"),
        content_type: Some("application/pdf".into()),
        max_size: 1000,
        upload: Some(upload),
        once: true,
        source_type: Some("translate".into()),
    };
    assert_eq!(grant, expected);
    assert_eq!(grant.check_headers(Some("application/PDF"), Some(1000)), Ok(()));
    assert_eq!(grant.check_headers(Some("application/pdf"), None), Ok(()));
    assert_eq!(
        grant.check_headers(Some("application/pdf"), Some(1001)),
        Err(GrantError::TooLarge { max: 1000 })
    );
    assert!(matches!(grant.check_headers(None, None), Err(GrantError::WrongContentType { .. })));
}

#[tokio::test]
async fn a_link_dies_on_the_second_it_names() {
    let fixture = fixture();
    let request = signed(&fixture).await;
    fixture.clock.advance(Duration::from_micros(59_999_999));
    assert!(verify(&fixture.store, &Method::GET, &request).is_ok());
    fixture.clock.advance(Duration::from_micros(1));
    assert_eq!(verify(&fixture.store, &Method::GET, &request), Err(GrantError::Expired));
    let too_long = DownloadOptions { expires_in: Duration::from_secs(604_801), ..download() };
    assert!(fixture.store.sign_get(&key("a"), &too_long).await.is_err());
}

#[tokio::test]
async fn a_link_serves_its_own_method_only() {
    let fixture = fixture();
    let request = signed(&fixture).await;
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        let error = verify(&fixture.store, &method, &request).unwrap_err();
        assert_eq!(error, GrantError::WrongMethod { expected: "GET", found: method.to_string() });
    }
    // Saying PUT in the query does not help.
    let (key, query) = received(&request);
    let query = query.replace("method=GET", "method=PUT");
    assert_eq!(fixture.store.verify(&Method::PUT, &key, &query), Err(GrantError::Tampered));
}

#[tokio::test]
async fn another_installations_link_is_refused() {
    let fixture = fixture();
    let other = settings(&fixture.directory, SALT, SigningKey::derive(b"another"));
    let other = BlobStore::open(other, fixture.clock.clone()).unwrap();
    let request = signed(&fixture).await;
    assert_eq!(verify(&other, &Method::GET, &request), Err(GrantError::Tampered));
}

#[tokio::test]
async fn what_is_no_link_says_why() {
    let fixture = fixture();
    let request = signed(&fixture).await;
    let (name, query) = received(&request);
    for (query, expected) in [
        (String::new(), "lacks \"method\""),
        ("method=GET&expires=1".into(), "lacks \"sig\""),
        (format!("{query}&expires=99999999999"), "\"expires\" stands in it twice"),
        (format!("{query}&admin=1"), "\"admin\" is no parameter"),
    ] {
        let error = fixture.store.verify(&Method::GET, &name, &query).unwrap_err();
        assert!(matches!(error, GrantError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let empty = format!("{}&sig=", query.split("&sig=").next().unwrap());
    assert_eq!(fixture.store.verify(&Method::GET, &name, &empty), Err(GrantError::Tampered));
}

/// A runtime for the signing calls, which are async for the sake of remote storage.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn what_nobody_signed_is_refused(
        key in ".{0,40}|outputs/[0-9a-f]{32}/[0-9a-f-]{36}/[a-z./%]{0,10}",
        query in r"\PC{0,60}|((method|expires|sig|type|name|max|upload|once|source)=[A-Za-z0-9%+_-]{0,12}&?){0,9}",
    ) {
        let fixture = fixture();
        for method in [Method::GET, Method::PUT] {
            prop_assert!(fixture.store.verify(&method, &key, &query).is_err(), "{key}?{query}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_change_of_one_character_survives(position in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9._-]") {
        let fixture = fixture();
        let request = block_on(signed(&fixture));
        let (key, query) = received(&request);
        let mut text: Vec<char> = format!("{key}?{query}").chars().collect();
        let at = position.index(text.len());
        // The last character of base64 has bits that decoders ignore or refuse; either way it is no other signature.
        prop_assume!(text[at].to_string() != replacement && at + 1 < text.len());
        text[at] = replacement.chars().next().unwrap();
        let changed: String = text.into_iter().collect();
        // `%c3` is `%C3`: what is signed is what the query says, not how it spells it.
        let said = |text: &str| -> Vec<(String, String)> {
            url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
        };
        prop_assume!(said(&changed) != said(&format!("{key}?{query}")));
        if let Some((key, query)) = changed.split_once('?') {
            let result = fixture.store.verify(&Method::GET, key, query);
            prop_assert!(
                matches!(result, Err(GrantError::Tampered | GrantError::Malformed(_))), "{changed}: {result:?}"
            );
        }
    }

    #[test]
    fn every_term_comes_back_as_it_was_signed(
        content_type in "[ -~]{1,60}", max_size in any::<u64>(), seconds in 1u64..604_800, id in any::<u128>(),
        once in any::<bool>(), source_type in proptest::option::of("[a-z]{1,20}")
    ) {
        let fixture = fixture();
        let upload = UploadId(uuid::Uuid::from_u128(id));
        let options = UploadOptions {
            expires_in: Duration::from_secs(seconds),
            content_type: Some(content_type.clone()),
            max_size,
            upload: Some(upload),
            once,
            source_type: source_type.clone(),
        };
        let request = block_on(fixture.store.sign_put(&key("x"), &options)).unwrap();
        let (key, content_type, upload) = (key("x"), Some(content_type), Some(upload));
        let grant = PutGrant { key, content_type, max_size, upload, once, source_type };
        prop_assert_eq!(verify(&fixture.store, &Method::PUT, &request), Ok(Grant::Put(grant)));
        let clock: &TestClock = &fixture.clock;
        clock.advance(Duration::from_secs(seconds));
        prop_assert_eq!(verify(&fixture.store, &Method::PUT, &request), Err(GrantError::Expired));
    }
}
