//! Uploads: what may become of them.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::Method;
use url::Url;
use windrow_api_types::{CreateUpload, CreatedUpload, PageQuery, Upload};
use windrow_app::{Actor, AppError};
use windrow_core::UploadStatus;
use windrow_store::uploads;
use windrow_test_support::{TestApp, on_both};

const CSV: &[u8] = b"a,b\n1,2\n";
/// `printf 'a,b\n1,2\n' | sha256sum`
const CSV_SHA256: &str = "492bf7d7b33e1d0e1b48a2a9c9d5f6e5f1fb0b7a3e3c8e9c5b0e5ad6e3b3c0c5";

fn wish(bytes: &[u8]) -> CreateUpload {
    CreateUpload {
        filename: "../../etc/poems.csv".to_owned(),
        content_type: "text/csv".to_owned(),
        size: bytes.len() as u64,
        sha256: None,
        purpose: None,
        workload: None,
    }
}

/// What the server would be asked for: the key and the query of a signed URL.
fn parts(url: &str) -> (String, String) {
    let url: Url = url.parse().unwrap();
    (url.path().strip_prefix("/blobs/").unwrap().to_owned(), url.query().unwrap().to_owned())
}

async fn put(test: &TestApp, created: &CreatedUpload, bytes: &'static [u8]) -> Result<(), AppError> {
    let (key, query) = parts(&created.url);
    let body = stream::iter(bytes.chunks(3).map(|chunk| Ok::<_, String>(Bytes::from_static(chunk))));
    let (content_type, length) = (created.headers.get("content-type"), bytes.len() as u64);
    let content_type = content_type.map(String::as_str).or(Some("text/csv"));
    test.app.receive_blob(&key, &query, content_type, Some(length), body).await.map(drop)
}

async fn stored(test: &TestApp, actor: &Actor) -> Upload {
    let created = test.app.create_upload(actor, &wish(CSV)).await.unwrap();
    put(test, &created, CSV).await.unwrap();
    test.app.complete_upload(actor, created.id).await.unwrap()
}

fn codes(error: &AppError) -> (u16, &'static str) {
    (error.status(), error.code())
}

on_both! {
    async fn an_upload_is_put_completed_and_can_then_be_used(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let created = test.app.create_upload(&ada, &wish(CSV)).await.unwrap();
        assert_eq!(created.method, "PUT");
        let missing = test.app.complete_upload(&ada, created.id).await.unwrap_err();
        assert_eq!(codes(&missing), (409, "upload_missing"));
        put(&test, &created, CSV).await.unwrap();
        let upload = test.app.complete_upload(&ada, created.id).await.unwrap();
        assert_eq!((upload.status, upload.filename.as_str()), (UploadStatus::Stored, "poems.csv"));
        assert_eq!(upload.detected_type.as_deref(), Some("text/csv"));
        assert_eq!(upload.sha256.as_ref().unwrap().len(), 64);
        assert_eq!(test.app.complete_upload(&ada, created.id).await.unwrap(), upload);
        let late = put(&test, &created, CSV).await.unwrap_err();
        assert_eq!(codes(&late), (409, "upload_closed"));
        let row = uploads::stored(&mut test.db.read().await.unwrap(), ada.owner(), created.id).await.unwrap().unwrap();
        let found = test.blob.head(&row.object_key.parse().unwrap()).await.unwrap();
        assert_eq!((found.etag, found.size), (row.etag, CSV.len() as u64));
        assert_eq!(test.app.list_uploads(&ada, &PageQuery::default()).await.unwrap().items, [upload]);
        test.finish().await;
    }

    async fn two_completes_at_once_agree(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let created = test.app.create_upload(&ada, &wish(CSV)).await.unwrap();
        put(&test, &created, CSV).await.unwrap();
        let (one, other) = tokio::join!(
            test.app.complete_upload(&ada, created.id),
            test.app.complete_upload(&ada, created.id)
        );
        assert_eq!(one.unwrap(), other.unwrap());
        test.finish().await;
    }

    async fn what_is_not_as_announced_is_rejected_for_good(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let mut wrong_hash = wish(CSV);
        wrong_hash.sha256 = Some(CSV_SHA256.to_owned());
        let mut wrong_type = wish(b"%PDF-1.7");
        wrong_type.filename = "poems.csv".to_owned();
        let short = wish(b"a,b\n1,2\n3,4\n");
        for (wish, bytes, why) in [
            (wrong_hash, CSV, "SHA-256"),
            (wrong_type, b"%PDF-1.7".as_slice(), "application/pdf"),
            (short, CSV, "8 bytes, and 12 were announced"),
        ] {
            let created = test.app.create_upload(&ada, &wish).await.unwrap();
            put(&test, &created, bytes).await.unwrap();
            for _twice in 0..2 {
                let error = test.app.complete_upload(&ada, created.id).await.unwrap_err();
                assert_eq!(codes(&error), (422, "upload_rejected"));
                assert!(error.to_string().contains(why), "{error}");
            }
            assert_eq!(test.app.show_upload(&ada, created.id).await.unwrap().status, UploadStatus::Rejected);
            assert_eq!(codes(&put(&test, &created, bytes).await.unwrap_err()), (409, "upload_closed"));
        }
        test.finish().await;
    }

    async fn a_link_dies_after_its_time_and_the_upload_a_little_later(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let created = test.app.create_upload(&ada, &wish(CSV)).await.unwrap();
        test.clock.advance(Duration::from_secs(14 * 60));
        put(&test, &created, CSV).await.unwrap();
        test.clock.advance(Duration::from_secs(60));
        assert_eq!(codes(&put(&test, &created, CSV).await.unwrap_err()), (403, "link_expired"));
        test.clock.advance(Duration::from_secs(15 * 60 + 1));
        assert_eq!(codes(&test.app.complete_upload(&ada, created.id).await.unwrap_err()), (410, "upload_expired"));
        let mut tx = test.db.begin().await.unwrap();
        assert_eq!(uploads::expire(&mut tx, test.app.parts.clock.now(), 10).await.unwrap(), 1);
        tx.commit().await.unwrap();
        assert_eq!(codes(&test.app.complete_upload(&ada, created.id).await.unwrap_err()), (410, "upload_expired"));
        assert_eq!(test.app.show_upload(&ada, created.id).await.unwrap().status, UploadStatus::Expired);
        test.finish().await;
    }
}

#[tokio::test]
async fn a_link_takes_what_was_signed_and_nothing_else() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let created = test.app.create_upload(&ada, &wish(CSV)).await.unwrap();
    let (key, query) = parts(&created.url);
    let send =
        async |key: &str, query: &str, kind: Option<&str>, length: Option<u64>, bytes: &'static [u8]| {
            let body = stream::iter([Ok::<_, String>(Bytes::from_static(bytes))]);
            codes(&test.app.receive_blob(key, query, kind, length, body).await.unwrap_err())
        };
    let csv = Some("text/csv");
    assert_eq!(send(&key, &format!("{query}x"), csv, Some(8), CSV).await, (403, "link_invalid"));
    assert_eq!(
        send(&query.replace("max=8", "max=9999"), &query, csv, Some(8), CSV).await,
        (403, "link_invalid")
    );
    assert_eq!(
        send(&key, &query.replace("max=8", "max=9999"), csv, Some(8), CSV).await,
        (403, "link_invalid")
    );
    assert_eq!(send("uploads/../secret", &query, csv, Some(8), CSV).await, (403, "link_invalid"));
    assert_eq!(send(&key, "", csv, Some(8), CSV).await, (403, "link_invalid"));
    assert_eq!(send(&key, &query, Some("text/html"), Some(8), CSV).await, (400, "link_mismatch"));
    assert_eq!(send(&key, &query, csv, Some(9), b"a,b\n1,2\n3").await, (413, "upload_too_large"));
    // a length that is missing or a lie does not help
    assert_eq!(send(&key, &query, csv, None, b"a,b\n1,2\n3").await, (413, "upload_too_large"));
    let broken = stream::iter([Ok(Bytes::from_static(b"a,")), Err("reset by peer")]);
    let error = test.app.receive_blob(&key, &query, csv, None, broken).await.unwrap_err();
    assert_eq!(codes(&error), (400, "body_broken"));
    assert_eq!(
        codes(&test.app.complete_upload(&ada, created.id).await.unwrap_err()),
        (409, "upload_missing")
    );
    let get = test.app.serve_blob(&Method::GET, &key, &query, None, None).await.unwrap_err();
    assert_eq!(codes(&get), (403, "link_invalid"));
    test.finish().await;
}

#[tokio::test]
async fn sizes_are_capped_and_the_wish_is_checked() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let huge = CreateUpload { size: 100 * 1024 * 1024 + 1, ..wish(CSV) };
    assert_eq!(codes(&test.app.create_upload(&ada, &huge).await.unwrap_err()), (413, "upload_too_large"));
    let unknown = CreateUpload { workload: Some("none".to_owned()), ..wish(CSV) };
    let error = test.app.create_upload(&ada, &unknown).await.unwrap_err();
    assert_eq!(error.into_field_errors()[0].pointer, "/workload");
    let seed = CreateUpload {
        purpose: Some("seed_data".to_owned()),
        workload: Some("echo".to_owned()),
        ..wish(CSV)
    };
    let created = test.app.create_upload(&ada, &seed).await.unwrap();
    assert!(parts(&created.url).0.starts_with("seed-data/"));
    assert_eq!(stored(&test, &ada).await.purpose, "upload");
    test.finish().await;
}
