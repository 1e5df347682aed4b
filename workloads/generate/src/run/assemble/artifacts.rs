//! The dataset's files as artifacts.

use std::path::Path;

use windrow_api_types::worker::NewArtifact;
use windrow_engine::{JobContext, RunError};

use super::SEEDS;
use crate::export::{DATASET_CARD, Format, MANIFEST, Manifest, PartitionBy, README};

/// The longest segment of an object's name; keys allow 200 bytes.
const MAX_OBJECT_SEGMENT: usize = 120;

/// Puts every file; each becomes an artifact of its own kind.
pub(super) async fn put_all(
    ctx: &JobContext,
    manifest: &Manifest,
    directory: &Path,
    seeds: bool,
) -> Result<Vec<NewArtifact>, RunError> {
    let mut files: Vec<(String, String)> =
        manifest.files.iter().map(|file| (file.path.clone(), kind_of(&file.path, manifest))).collect();
    if seeds {
        files.push((SEEDS.to_owned(), "seed".to_owned()));
    }
    for (name, kind) in [(MANIFEST, "manifest"), (DATASET_CARD, "card"), (README, "readme")] {
        files.push((name.to_owned(), kind.to_owned()));
    }
    let mut artifacts = Vec::with_capacity(files.len());
    for (number, (path, kind)) in files.into_iter().enumerate() {
        let content_type = content_type(&path);
        let name = object_name(&path, number);
        let object = ctx.put_file("outputs", &name, content_type, &directory.join(&path)).await?;
        artifacts.push(NewArtifact { kind, filename: path, content_type: content_type.to_owned(), object });
    }
    Ok(artifacts)
}

/// The name of a file's object: its path, or its number where the path has what keys may not have, such as the `%` and
/// the foreign letters in a partition's folder. Nobody reads it; the path is the artifact's.
fn object_name(path: &str, number: usize) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-=/".contains(c);
    let short = path.split('/').all(|segment| segment.len() <= MAX_OBJECT_SEGMENT);
    if short && path.chars().all(plain) {
        return path.to_owned();
    }
    let (_, extension) = path.rsplit_once('.').unwrap_or(("", "bin"));
    format!("files/{number:05}.{extension}")
}

/// The artifact kind of a file: its format's name; in a partitioned layout, where a format has many files, its path.
fn kind_of(path: &str, manifest: &Manifest) -> String {
    let (_, extension) = path.rsplit_once('.').unwrap_or(("", path));
    if path.starts_with("rejects") {
        return "rejects".to_owned();
    }
    match manifest.partition_by {
        PartitionBy::None => extension.to_owned(),
        _ => path.to_owned(),
    }
}

fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.parse::<Format>() {
        Ok(format) => format.media_type(),
        Err(_) if extension == "json" => "application/json",
        Err(_) => "text/markdown; charset=utf-8",
    }
}
