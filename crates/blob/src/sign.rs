//! Links that carry their own permission.
//!
//! On local disk a link is `{public_url}/blobs/{key}?method=…&expires=…&…&sig=…`; `sig` is HMAC-SHA256 over the method,
//! the key, the expiry and every constraint, each with its length, so that no two links share a signed text. The server
//! under `/blobs/` hands what it received to [`BlobStore::verify`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use http::Method;
use subtle::ConstantTimeEq;
use url::{Url, form_urlencoded};
use windrow_core::{Timestamp, UploadId};

use crate::backend::Backend;
use crate::disposition::{content_disposition, sanitise_file_name};
use crate::error::BlobError;
use crate::installation::SigningKey;
use crate::key::ObjectKey;
use crate::store::BlobStore;

/// The longest life of a link: what S3 allows for SigV4
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
const MAX_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a download link allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DownloadOptions {
    /// At most seven days.
    pub expires_in: Duration,
    /// The name that the browser saves it under; sanitised here.
    pub file_name: Option<String>,
    /// Overrides the object's own.
    pub content_type: Option<String>,
}

/// What an upload link allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadOptions {
    /// At most seven days.
    pub expires_in: Duration,
    /// The `Content-Type` that the PUT must have.
    pub content_type: Option<String>,
    /// In bytes. Held on local disk while the bytes arrive, elsewhere when the upload is completed.
    pub max_size: u64,
    /// The upload that the link belongs to: whoever serves it asks whether that is still open, and so the link dies
    /// with it.
    pub upload: Option<UploadId>,
    /// The link doesn't replace what stands there already.
    pub once: bool,
    /// Where the object says that it comes from.
    pub source_type: Option<String>,
}

/// A request that somebody else may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    pub method: String,
    pub url: String,
    /// Headers that the request must have.
    pub headers: BTreeMap<String, String>,
    pub expires_at: Timestamp,
}

/// What a link that was checked allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Get {
        key: ObjectKey,
        /// The value of `Content-Disposition`.
        disposition: Option<String>,
        content_type: Option<String>,
    },
    Put(PutGrant),
}

/// What an upload link that was checked allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutGrant {
    pub key: ObjectKey,
    pub content_type: Option<String>,
    /// In bytes; to be given to [`BlobStore::writer`] too, since a length may be missing or a lie.
    pub max_size: u64,
    /// To be found open before the bytes are taken.
    pub upload: Option<UploadId>,
    /// To be refused when the key has an object.
    pub once: bool,
    pub source_type: Option<String>,
}

/// Why a link was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("this is no signed link: {0}")]
    Malformed(String),
    #[error("the link's signature does not fit: it was altered, or made by another installation")]
    Tampered,
    #[error("the link has expired; ask for a new one")]
    Expired,
    #[error("the link is for {expected}, not for {found}")]
    WrongMethod { expected: &'static str, found: String },
    #[error("the link asks for Content-Type {expected}")]
    WrongContentType { expected: String },
    #[error("the link allows {max} bytes at most")]
    TooLarge { max: u64 },
}

impl PutGrant {
    /// Whether a PUT with these headers is the one that was signed.
    ///
    /// # Errors
    /// [`GrantError::WrongContentType`], [`GrantError::TooLarge`].
    pub fn check_headers(
        &self,
        content_type: Option<&str>,
        content_length: Option<u64>,
    ) -> Result<(), GrantError> {
        if let Some(expected) = &self.content_type
            && !content_type.is_some_and(|found| found.eq_ignore_ascii_case(expected))
        {
            return Err(GrantError::WrongContentType { expected: expected.clone() });
        }
        match content_length {
            Some(length) if length > self.max_size => Err(GrantError::TooLarge { max: self.max_size }),
            _ => Ok(()),
        }
    }
}

/// Everything that a link says, as it stands in its query.
#[derive(Default)]
struct Terms<'a> {
    method: Cow<'a, str>,
    expires: Cow<'a, str>,
    content_type: Option<Cow<'a, str>>,
    file_name: Option<Cow<'a, str>>,
    max_size: Option<Cow<'a, str>>,
    upload: Option<Cow<'a, str>>,
    once: Option<Cow<'a, str>>,
    source_type: Option<Cow<'a, str>>,
}

const GET: &str = "GET";
const PUT: &str = "PUT";

impl Terms<'_> {
    /// The parameters of the query, in the order in which they are signed.
    fn parameters(&self) -> [(&'static str, Option<&str>); 8] {
        [
            ("method", Some(&self.method)),
            ("expires", Some(&self.expires)),
            ("type", self.content_type.as_deref()),
            ("name", self.file_name.as_deref()),
            ("max", self.max_size.as_deref()),
            ("upload", self.upload.as_deref()),
            ("once", self.once.as_deref()),
            ("source", self.source_type.as_deref()),
        ]
    }

    fn signature(&self, key: &str, signing_key: &SigningKey) -> [u8; 32] {
        let mut mac = signing_key.mac();
        let mut field = |text: &str| {
            mac.update(&(text.len() as u64).to_be_bytes());
            mac.update(text.as_bytes());
        };
        field("windrow-blob-1");
        field(key);
        for (name, value) in self.parameters() {
            if let Some(value) = value {
                field(name);
                field(value);
            }
        }
        mac.finalize().into_bytes().into()
    }
}

impl BlobStore {
    /// A link that reads the object.
    ///
    /// # Errors
    /// [`BlobError::InvalidAttribute`] when it would live longer than seven days.
    pub async fn sign_get(
        &self,
        key: &ObjectKey,
        options: &DownloadOptions,
    ) -> Result<SignedRequest, BlobError> {
        let expires_at = self.expiry(options.expires_in)?;
        let terms = Terms {
            method: GET.into(),
            file_name: options.file_name.as_deref().map(|name| sanitise_file_name(name).into()),
            content_type: options.content_type.as_deref().map(Cow::from),
            ..Terms::default()
        };
        Ok(self.sign(key, terms, GET, expires_at))
    }

    /// A link that writes the object, over any that stands there unless it is to be written once.
    ///
    /// # Errors
    /// [`BlobError::InvalidAttribute`] when it would live longer than seven days.
    pub async fn sign_put(
        &self,
        key: &ObjectKey,
        options: &UploadOptions,
    ) -> Result<SignedRequest, BlobError> {
        let expires_at = self.expiry(options.expires_in)?;
        let terms = Terms {
            method: PUT.into(),
            content_type: options.content_type.as_deref().map(Cow::from),
            max_size: Some(options.max_size.to_string().into()),
            upload: options.upload.map(|id| id.to_string().into()),
            once: options.once.then_some("true".into()),
            source_type: options.source_type.as_deref().map(Cow::from),
            ..Terms::default()
        };
        let mut request = self.sign(key, terms, PUT, expires_at);
        request.headers.extend(options.content_type.clone().map(|value| ("content-type".to_owned(), value)));
        Ok(request)
    }

    /// Checks a request to `/blobs/{key}?{query}`; `key` is percent-decoded, `query` as it came. A HEAD is a GET
    /// without its body and passes as one. Takes the same time for every wrong signature.
    ///
    /// # Errors
    /// Says whether the link is malformed, altered, expired, or for another method.
    pub fn verify(&self, method: &Method, key: &str, query: &str) -> Result<Grant, GrantError> {
        let Backend::Local { signing_key, .. } = &self.inner.backend;
        let (terms, signature) = parse(query)?;
        let expected = terms.signature(key, signing_key);
        if !bool::from(expected.ct_eq(&signature)) {
            return Err(GrantError::Tampered);
        }
        // From here on the terms are our own.
        let signed_for = if terms.method == PUT { PUT } else { GET };
        let found = if method == Method::HEAD { GET } else { method.as_str() };
        if found != signed_for {
            return Err(GrantError::WrongMethod { expected: signed_for, found: method.to_string() });
        }
        let expires = number(&terms.expires)?;
        if self.inner.clock.now() >= Timestamp::default().plus(Duration::from_secs(expires)) {
            return Err(GrantError::Expired);
        }
        let key = key.parse().map_err(|e| GrantError::Malformed(format!("{e}")))?;
        terms.into_grant(key)
    }

    fn expiry(&self, expires_in: Duration) -> Result<Timestamp, BlobError> {
        if expires_in > MAX_LIFE {
            return Err(BlobError::InvalidAttribute("a link may live for seven days at most".into()));
        }
        // Whole seconds, as they stand in the link.
        let micros = self.inner.clock.now().plus(expires_in).as_micros();
        Ok(Timestamp::from_micros(micros - micros.rem_euclid(1_000_000)))
    }

    fn sign(
        &self,
        key: &ObjectKey,
        mut terms: Terms<'_>,
        method: &'static str,
        expires_at: Timestamp,
    ) -> SignedRequest {
        let Backend::Local { public_url, signing_key, .. } = &self.inner.backend;
        terms.expires = expires_at.since(Timestamp::default()).as_secs().to_string().into();
        let signature = URL_SAFE_NO_PAD.encode(terms.signature(key.as_str(), signing_key));
        let mut url = blob_url(public_url, key);
        let mut query = url.query_pairs_mut();
        for (name, value) in terms.parameters() {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("sig", &signature);
        drop(query);
        SignedRequest { method: method.to_owned(), url: url.into(), headers: BTreeMap::new(), expires_at }
    }
}

impl Terms<'_> {
    fn into_grant(self, key: ObjectKey) -> Result<Grant, GrantError> {
        let content_type = self.content_type.map(Cow::into_owned);
        if self.method == GET {
            let disposition = self.file_name.map(|name| content_disposition(&name));
            return Ok(Grant::Get { key, disposition, content_type });
        }
        let max_size = number(&self.max_size.unwrap_or_default())?;
        let upload = self.upload.map(|id| id.parse()).transpose();
        let upload = upload.map_err(|_| GrantError::Malformed("its upload is no id".into()))?;
        let (once, source_type) = (self.once.is_some(), self.source_type.map(Cow::into_owned));
        Ok(Grant::Put(PutGrant { key, content_type, max_size, upload, once, source_type }))
    }
}

fn number(text: &str) -> Result<u64, GrantError> {
    text.parse().map_err(|_| GrantError::Malformed(format!("{text:?} is no number")))
}

fn blob_url(public_url: &Url, key: &ObjectKey) -> Url {
    let mut url = public_url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A path such as `/windrow` behind a proxy stays in front.
    let path = format!("{}/blobs/{key}", public_url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

/// Reads a query; a parameter that is unknown or stands twice is refused.
fn parse(query: &str) -> Result<(Terms<'_>, Vec<u8>), GrantError> {
    let malformed = |what: String| GrantError::Malformed(what);
    let (mut method, mut expires, mut signature) = (None, None, None);
    let mut terms = Terms::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let slot = match &*name {
            "method" => &mut method,
            "expires" => &mut expires,
            "sig" => &mut signature,
            "type" => &mut terms.content_type,
            "name" => &mut terms.file_name,
            "max" => &mut terms.max_size,
            "upload" => &mut terms.upload,
            "once" => &mut terms.once,
            "source" => &mut terms.source_type,
            other => return Err(malformed(format!("{other:?} is no parameter of it"))),
        };
        if slot.replace(value).is_some() {
            return Err(malformed(format!("{name:?} stands in it twice")));
        }
    }
    let missing = |name: &str| malformed(format!("it lacks {name:?}"));
    terms.method = method.ok_or_else(|| missing("method"))?;
    terms.expires = expires.ok_or_else(|| missing("expires"))?;
    let signature = signature.ok_or_else(|| missing("sig"))?;
    let signature = URL_SAFE_NO_PAD.decode(signature.as_bytes()).map_err(|_| GrantError::Tampered)?;
    Ok((terms, signature))
}
