//! Artifacts: lists and downloads.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::Method;
use serde_json::json;
use url::Url;
use windrow_api_types::ArtifactQuery;
use windrow_blob::ByteRange;
use windrow_test_support::{TestApp, on_both};

on_both! {
    async fn a_job_shows_the_latest_of_each_kind_and_the_five_before(db) {
        let test = TestApp::start(db).await;
        let ada = test.actor("ada").await;
        let job = test.submit(&ada, json!({"text": "a"})).await;
        test.complete_all().await;
        for n in 0..8 {
            test.artifact(job.id, "csv", Bytes::from(format!("{n}"))).await;
            test.clock.advance(Duration::from_millis(1));
        }
        let only = test.artifact(job.id, "jsonl", Bytes::from_static(b"{}")).await;
        let groups = test.app.job_artifacts(&ada, job.id).await.unwrap();
        let shown: Vec<_> = groups.iter().map(|g| (g.kind.as_str(), g.latest.version, g.earlier.len())).collect();
        assert_eq!(shown, [("csv", 8, 5), ("jsonl", 1, 0)]);
        assert!(groups[0].latest.latest && !groups[0].earlier[0].latest);
        let csv = ArtifactQuery { kind: Some("csv".to_owned()), limit: Some(3), ..ArtifactQuery::default() };
        let page = test.app.list_artifacts(&ada, &csv).await.unwrap();
        assert_eq!(page.items.iter().map(|a| a.version).collect::<Vec<_>>(), [8, 7, 6]);
        let rest = ArtifactQuery { cursor: page.next_cursor, limit: Some(100), kind: None };
        assert_eq!(test.app.list_artifacts(&ada, &rest).await.unwrap().items.len(), 5);
        assert_eq!(test.app.show_artifact(&ada, only).await.unwrap().filename, "out.jsonl");
        test.finish().await;
    }
}

#[tokio::test]
async fn a_download_link_gives_the_bytes_for_45_minutes() {
    let test = TestApp::sqlite().await;
    let ada = test.actor("ada").await;
    let job = test.submit(&ada, json!({"text": "a"})).await;
    test.complete_all().await;
    let id = test.artifact(job.id, "csv", Bytes::from_static(b"a,b\n1,2\n")).await;
    let link = test.app.download_artifact(&ada, id).await.unwrap();
    let url: Url = link.url.parse().unwrap();
    let (key, query) = (url.path().strip_prefix("/blobs/").unwrap(), url.query().unwrap());
    let serve = async |range| test.app.serve_blob(&Method::GET, key, query, range, None).await;
    let served = serve(None).await.unwrap();
    assert_eq!(served.content_type.as_deref(), Some("text/plain"));
    assert_eq!(served.disposition.as_deref(), Some("attachment; filename=\"out.csv\""));
    let chunks: Vec<Bytes> = served.reader.stream.try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"a,b\n1,2\n");
    let part = serve(Some(ByteRange::Between(4, 7))).await.unwrap();
    let chunks: Vec<Bytes> = part.reader.stream.try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"1,2");
    let outside = serve(Some(ByteRange::From(99))).await.unwrap_err();
    assert_eq!((outside.status(), outside.code()), (416, "range_not_satisfiable"));
    test.clock.advance(Duration::from_secs(45 * 60));
    let late = serve(None).await.unwrap_err();
    assert_eq!((late.status(), late.code()), (403, "link_expired"));
    test.blob.delete(&key.parse().unwrap()).await.unwrap();
    assert_eq!(test.app.download_artifact(&ada, id).await.unwrap_err().status(), 404);
    test.finish().await;
}
