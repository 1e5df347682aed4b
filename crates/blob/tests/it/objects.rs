use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use windrow_blob::{
    BlobError, BlobErrorClass, BlobStore, ByteRange, InstallationSalt, ObjectAttributes, ObjectPrefix,
    OwnerHash, Prefix, SigningKey,
};
use windrow_core::{Clock, OwnerId};

use crate::{Fixture, SALT, fixture, key, settings};

fn none() -> ObjectAttributes {
    ObjectAttributes::default()
}

async fn read(fixture: &Fixture, name: &str, range: ByteRange) -> Result<(Vec<u8>, u64), BlobError> {
    let reader = fixture.store.stream(&key(name), Some(range), None).await?;
    let parts: Vec<Bytes> = reader.stream.try_collect().await?;
    let bytes = parts.concat();
    assert_eq!(bytes.len() as u64, reader.range.end - reader.range.start);
    Ok((bytes, reader.range.start))
}

/// Every file below the objects' root, but for the marker.
fn files(fixture: &Fixture) -> Vec<PathBuf> {
    fn walk(directory: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(fixture.directory.path().join("objects"), &mut found);
    found.retain(|path| !path.ends_with(".installation"));
    found
}

#[tokio::test]
async fn an_object_comes_back_with_what_was_said_about_it() {
    let fixture = fixture();
    let attributes = ObjectAttributes::of_type("text/csv").from_source("upload");
    let receipt = fixture.store.put(&key("a.csv"), "id\n1\n".into(), &attributes).await.unwrap();
    assert_eq!(receipt.size, 5);
    assert_eq!(receipt.sha256, <[u8; 32]>::from(Sha256::digest("id\n1\n")));

    let info = fixture.store.head(&key("a.csv")).await.unwrap();
    assert_eq!((info.size, &info.attributes, &info.etag), (5, &attributes, &receipt.etag));
    assert_eq!(fixture.store.get(&key("a.csv")).await.unwrap(), "id\n1\n");

    // Over it, without attributes: the old ones are not inherited.
    let second = fixture.store.put(&key("a.csv"), "id\n2\n3\n".into(), &none()).await.unwrap();
    let info = fixture.store.head(&key("a.csv")).await.unwrap();
    assert_eq!(info.attributes, none());
    assert_ne!(second.etag, receipt.etag);
}

#[tokio::test]
async fn deleting_leaves_nothing_and_may_be_repeated() {
    let fixture = fixture();
    fixture.store.put(&key("a"), "x".into(), &ObjectAttributes::of_type("text/plain")).await.unwrap();
    assert_eq!(files(&fixture).len(), 2, "the object and its sidecar");
    fixture.store.delete(&key("a")).await.unwrap();
    fixture.store.delete(&key("a")).await.unwrap();
    assert_eq!(files(&fixture), Vec::<PathBuf>::new());
    assert_eq!(fixture.store.get(&key("a")).await.unwrap_err().class(), BlobErrorClass::NotFound);
    assert_eq!(fixture.store.head(&key("a")).await.unwrap_err().class(), BlobErrorClass::NotFound);
}

#[tokio::test]
async fn of_many_that_put_if_absent_one_wins() {
    let fixture = fixture();
    let puts = (0..20u8).map(|n| {
        let store = fixture.store.clone();
        tokio::spawn(async move {
            let put = store.put_if_absent(&key("part"), vec![n; 10].into(), &none()).await;
            put.map(|_| n)
        })
    });
    let mut winners = Vec::new();
    for put in puts.collect::<Vec<_>>() {
        match put.await.unwrap() {
            Ok(n) => winners.push(n),
            Err(error) => assert_eq!(error.class(), BlobErrorClass::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(fixture.store.get(&key("part")).await.unwrap(), vec![winners[0]; 10]);
    assert_eq!(files(&fixture).len(), 1, "no staging file is left");
}

#[tokio::test]
async fn put_if_absent_keeps_what_stands_there() {
    let fixture = fixture();
    let first = ObjectAttributes::of_type("text/plain");
    fixture.store.put_if_absent(&key("a"), "one".into(), &first).await.unwrap();
    let second = ObjectAttributes::of_type("text/csv");
    let error = fixture.store.put_if_absent(&key("a"), "two".into(), &second).await.unwrap_err();
    assert!(matches!(error, BlobError::AlreadyExists { .. }));
    assert_eq!(fixture.store.get(&key("a")).await.unwrap(), "one");
    assert_eq!(fixture.store.head(&key("a")).await.unwrap().attributes, first);
}

#[tokio::test]
async fn ranges_are_cut_at_the_end_and_refused_outside() {
    let fixture = fixture();
    fixture.store.put(&key("a"), "0123456789".into(), &none()).await.unwrap();
    for (range, expected) in [
        (ByteRange::From(7), (b"789".to_vec(), 7)),
        (ByteRange::Between(2, 4), (b"23".to_vec(), 2)),
        (ByteRange::Between(8, 99), (b"89".to_vec(), 8)),
        (ByteRange::Last(3), (b"789".to_vec(), 7)),
        (ByteRange::Last(99), (b"0123456789".to_vec(), 0)),
    ] {
        assert_eq!(read(&fixture, "a", range).await.unwrap(), expected, "{range:?}");
    }
    for range in [ByteRange::From(10), ByteRange::Between(10, 12), ByteRange::Between(4, 4)] {
        let error = read(&fixture, "a", range).await.unwrap_err();
        assert!(matches!(error, BlobError::InvalidRange { size: 10, .. }), "{range:?}: {error}");
    }
    assert!(matches!(read(&fixture, "no", ByteRange::From(0)).await, Err(BlobError::NotFound { .. })));
}

#[tokio::test]
async fn if_match_reads_only_the_version_it_names() {
    let fixture = fixture();
    let first = fixture.store.put(&key("a"), "one".into(), &none()).await.unwrap();
    assert!(fixture.store.stream(&key("a"), None, first.etag.as_deref()).await.is_ok());
    fixture.store.put(&key("a"), "three".into(), &none()).await.unwrap();
    let error = fixture.store.stream(&key("a"), None, first.etag.as_deref()).await.unwrap_err();
    assert!(matches!(error, BlobError::Changed { .. }), "{error}");
}

#[tokio::test]
async fn a_large_object_is_written_and_read_in_pieces() {
    let fixture = fixture();
    let attributes = ObjectAttributes::of_type("application/x-ndjson");
    let mut writer = fixture.store.writer(&key("big"), &attributes, None).await.unwrap();
    let (mut expected, mut size) = (Sha256::new(), 0u64);
    for n in 0..300u32 {
        // 64 KiB and a bit: parts never end where pieces do.
        let piece = Bytes::from(n.to_le_bytes().repeat(16_385));
        expected.update(&piece);
        size += piece.len() as u64;
        writer.write(piece).await.unwrap();
    }
    assert!(fixture.store.head(&key("big")).await.is_err(), "nothing stands there before the end");
    let receipt = writer.finish().await.unwrap();
    let expected: [u8; 32] = expected.finalize().into();
    assert_eq!((receipt.size, receipt.sha256), (size, expected));

    let reader = fixture.store.stream(&key("big"), None, receipt.etag.as_deref()).await.unwrap();
    assert_eq!((reader.info.size, &reader.info.attributes), (size, &attributes));
    let mut seen = Sha256::new();
    let mut stream = reader.stream;
    while let Some(bytes) = stream.try_next().await.unwrap() {
        seen.update(&bytes);
    }
    assert_eq!(<[u8; 32]>::from(seen.finalize()), expected);
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let fixture = fixture();
    let writer = fixture.store.writer(&key("empty"), &none(), Some(0)).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().size, 0);
    assert_eq!(fixture.store.get(&key("empty")).await.unwrap(), "");
    let reader = fixture.store.stream(&key("empty"), None, None).await.unwrap();
    assert_eq!(reader.stream.try_collect::<Vec<_>>().await.unwrap().concat(), b"");
}

#[tokio::test]
async fn a_writer_stops_at_its_limit_and_leaves_nothing_when_given_up() {
    let fixture = fixture();
    let mut writer = fixture.store.writer(&key("a"), &none(), Some(4)).await.unwrap();
    writer.write("1234".into()).await.unwrap();
    let error = writer.write("5".into()).await.unwrap_err();
    assert!(matches!(error, BlobError::TooLarge { max: 4, .. }), "{error}");
    writer.abort().await.unwrap();
    assert_eq!(files(&fixture), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_list_shows_one_folder_and_nothing_beside_objects() {
    let fixture = fixture();
    let (me, other) = (OwnerHash::new(OwnerId(1), &SALT), OwnerHash::new(OwnerId(2), &SALT));
    let theirs = ObjectPrefix::owned(Prefix::Outputs, other).unwrap().key("c").unwrap();
    let attributes = ObjectAttributes::of_type("text/plain");
    for key in [key("a"), key("b"), theirs.clone()] {
        fixture.store.put(&key, "12".into(), &attributes).await.unwrap();
    }
    fs::write(fixture.directory.path().join(format!("objects/outputs/{me}/not an object")), "x").unwrap();

    let list = async |prefix: &ObjectPrefix| {
        let listed: Vec<_> = fixture.store.list(prefix).try_collect().await.unwrap();
        assert!(listed.iter().all(|object| object.size == 2 && object.etag.is_some()));
        let mut keys: Vec<_> = listed.into_iter().map(|object| object.key).collect();
        keys.sort();
        keys
    };
    assert_eq!(list(&ObjectPrefix::owned(Prefix::Outputs, me).unwrap()).await, [key("a"), key("b")]);
    assert_eq!(list(&ObjectPrefix::owned(Prefix::Outputs, other).unwrap()).await, [theirs]);
    assert_eq!(list(&ObjectPrefix::all(Prefix::Outputs)).await.len(), 3);
    assert!(list(&ObjectPrefix::all(Prefix::Backups)).await.is_empty());
}

#[tokio::test]
async fn attributes_that_no_header_could_carry_are_refused() {
    let fixture = fixture();
    for value in ["", "text/plain\r\nx: y", "größe", &"x".repeat(256)] {
        let error = fixture.store.put(&key("a"), "x".into(), &ObjectAttributes::of_type(value)).await;
        assert!(matches!(error, Err(BlobError::InvalidAttribute(_))), "{value:?}");
    }
    assert_eq!(files(&fixture), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_damaged_sidecar_is_named() {
    let fixture = fixture();
    fixture.store.put(&key("a"), "x".into(), &ObjectAttributes::of_type("text/plain")).await.unwrap();
    let sidecar =
        files(&fixture).into_iter().find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
    fs::write(sidecar, "{").unwrap();
    let error = fixture.store.head(&key("a")).await.unwrap_err();
    assert_eq!(error.class(), BlobErrorClass::Permanent);
    assert!(error.to_string().contains(".meta/outputs/"), "{error}");
    assert_eq!(fixture.store.get(&key("a")).await.unwrap(), "x", "the bytes are still there");
}

#[tokio::test]
async fn a_directory_belongs_to_one_installation() {
    let fixture = fixture();
    fixture.store.check().await.unwrap();
    let open = |salt| {
        let settings = settings(&fixture.directory, salt, SigningKey::derive(b"secret"));
        BlobStore::open(settings, fixture.clock.clone())
    };
    open(SALT).unwrap();
    let error = open(InstallationSalt::from_bytes([8; 32])).unwrap_err().to_string();
    assert!(error.contains("a directory of its own"), "{error}");

    fs::remove_dir_all(fixture.directory.path().join("objects")).unwrap();
    assert!(fixture.store.check().await.is_err());
}

#[tokio::test]
async fn what_a_killed_writer_left_is_swept_once_it_is_old() {
    let fixture = fixture();
    let attributes = ObjectAttributes::of_type("text/plain");
    fixture.store.put(&key("whole"), "x".into(), &attributes).await.unwrap();
    let mut writer = fixture.store.writer(&key("half"), &none(), None).await.unwrap();
    writer.write("x".into()).await.unwrap();
    // As a kill leaves it: nothing is cleaned up.
    std::mem::forget(writer);
    assert_eq!(files(&fixture).len(), 3);

    // Files carry the machine's time, which the fixture's clock is brought up to.
    let now = fs::metadata(&files(&fixture)[0]).unwrap().modified().unwrap();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = i64::try_from(since.as_micros()).unwrap() - fixture.clock.now().as_micros();
    fixture.clock.jump(ahead);
    let day = Duration::from_secs(86_400);
    assert_eq!(fixture.store.sweep_unfinished(day).await.unwrap(), 0);
    fixture.clock.advance(day + Duration::from_secs(60));
    assert_eq!(fixture.store.sweep_unfinished(day).await.unwrap(), 1);
    assert_eq!(files(&fixture).len(), 2);
    assert_eq!(fixture.store.get(&key("whole")).await.unwrap(), "x");
}
