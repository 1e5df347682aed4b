use proptest::prelude::*;

use super::*;

fn owner() -> OwnerHash {
    OwnerHash::new(OwnerId(7), &InstallationSalt::from_bytes([1; 32]))
}

#[test]
fn an_owner_hash_depends_on_the_owner_and_on_the_salt() {
    let (salt, other) = (InstallationSalt::from_bytes([1; 32]), InstallationSalt::from_bytes([2; 32]));
    let hash = OwnerHash::new(OwnerId(7), &salt);
    assert_eq!(hash, OwnerHash::new(OwnerId(7), &salt));
    assert_ne!(hash, OwnerHash::new(OwnerId(8), &salt));
    assert_ne!(hash, OwnerHash::new(OwnerId(7), &other));
    assert_eq!(hash.to_string().len(), 32);
    assert_eq!(hash.to_string().parse::<OwnerHash>(), Ok(hash));
    assert!(hash.to_string().to_uppercase().parse::<OwnerHash>().is_err());
}

#[test]
fn keys_stand_under_prefix_owner_and_job() {
    let job: JobId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let key = ObjectKey::of_job(Prefix::Checkpoints, owner(), job, &["1", "0-49.jsonl"]).unwrap();
    assert_eq!(key.as_str(), format!("checkpoints/{}/{job}/1/0-49.jsonl", owner()));
    assert_eq!((key.prefix(), key.owner(), key.name()), (Prefix::Checkpoints, Some(owner()), "0-49.jsonl"));
    assert_eq!(key.as_str().parse::<ObjectKey>(), Ok(key));

    let shared = ObjectKey::shared(Prefix::SampleDatasets, &["poems.jsonl"]).unwrap();
    assert_eq!((shared.as_str(), shared.owner()), ("sample-datasets/poems.jsonl", None));
    assert_eq!(shared.as_str().parse::<ObjectKey>(), Ok(shared));
}

#[test]
fn an_owner_stands_where_one_belongs_and_nowhere_else() {
    assert_eq!(ObjectKey::owned(Prefix::Backups, owner(), &["x"]), Err(KeyError::Shared(Prefix::Backups)));
    assert_eq!(ObjectKey::shared(Prefix::Uploads, &["x"]), Err(KeyError::NoOwner(Prefix::Uploads)));
    assert_eq!(ObjectPrefix::all(Prefix::Uploads).key("x"), Err(KeyError::NoOwner(Prefix::Uploads)));
    assert_eq!(ObjectKey::owned(Prefix::Uploads, owner(), &[]), Err(KeyError::NoName));
}

#[test]
fn bad_keys_are_refused_with_the_reason() {
    let own = format!("uploads/{}", owner());
    let long_segment = format!("{own}/{}", "a".repeat(MAX_SEGMENT + 1));
    let long_key = format!("{own}{}", "/aaaaaaaaa".repeat(80));
    for (text, expected) in [
        (String::new(), "must not be empty"),
        ("/uploads/x".into(), "begin with a slash"),
        (format!("{own}//x"), "must not be empty"),
        (format!("{own}/x/"), "must not be empty"),
        (format!("{own}/../x"), "contain the segment \"..\""),
        ("../uploads/x".into(), "contain the segment \"..\""),
        (format!("{own}/./x"), "contain the segment \".\""),
        (format!("{own}/.meta"), "begin with a dot"),
        (format!("{own}/a\0b"), "'\\0'"),
        (format!("{own}/a\nb"), "'\\n'"),
        (format!("{own}/a\\b"), "'\\\\'"),
        (format!("{own}/%2e%2e"), "'%'"),
        (format!("{own}/ü"), "'ü'"),
        (format!("{own}/a#1"), "'#'"),
        (long_segment, "a segment"),
        (long_key, "the most is 800"),
        ("secrets/x".into(), "no storage prefix"),
        ("uploads/x".into(), "owner hash"),
        (own.clone(), "names a folder"),
        ("backups".into(), "names a folder"),
    ] {
        let error = text.parse::<ObjectKey>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_that_parses_is_its_own_key_and_stays_below_its_prefix(
        text in r"(uploads|backups|\.\.|)/?([a-f0-9]{32})?(/|\.|[ -~]|\PC){0,40}"
    ) {
        if let Ok(key) = text.parse::<ObjectKey>() {
            prop_assert_eq!(key.as_str(), text.as_str());
            let root = std::path::Path::new("/root-of-all");
            let path = root.join(key.as_str());
            prop_assert!(path.components().all(|c| matches!(
                c, std::path::Component::Normal(_) | std::path::Component::RootDir)));
            prop_assert!(path.starts_with(root.join(key.prefix().as_str())));
            prop_assert_eq!(key.to_path().to_string(), text);
        }
    }

    #[test]
    fn every_built_key_reads_back(segments in proptest::collection::vec("[A-Za-z0-9_=+@,-][A-Za-z0-9._=+@,-]{0,30}", 1..6)) {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let key = ObjectKey::owned(Prefix::Outputs, owner(), &segments).unwrap();
        prop_assert_eq!(key.as_str().parse::<ObjectKey>(), Ok(key));
    }
}
