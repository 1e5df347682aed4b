//! One file a command group. Those that look after jobs and files speak to a server like any other client.

pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod dead_letters;
pub(crate) mod demo;
pub(crate) mod files;
pub(crate) mod jobs;
pub(crate) mod pages;
pub(crate) mod people;
pub(crate) mod trouble;

/// Percent-encodes what goes into a path or a query (RFC 3986, unreserved characters aside).
pub(crate) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
