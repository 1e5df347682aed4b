//! `windrow upload` and `windrow download`.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use windrow_api_types::{Artifact, ArtifactGroup, CreateUpload, CreatedUpload, Upload};
use windrow_client::{Client, ClientError};
use windrow_plugin::{CommandError, Console, ExitCode, Host};

use crate::args;
use crate::output;

pub(crate) async fn upload(command: args::Upload, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let size = size_of(&command.file)?;
    let client = host.connect().await?;
    let console = host.console();
    let guessed = || content_type_of(&command.file).to_owned();
    let content_type = command.content_type.clone().unwrap_or_else(guessed);
    let upload = put(&client, console, &command, &content_type, size).await?;
    output::result(console, &upload, |out| writeln!(out, "{}", upload.id))?;
    Ok(ExitCode::Ok)
}

/// In bytes. What can't be read needs no server to be refused.
fn size_of(file: &Path) -> Result<u64, CommandError> {
    let fault = |fault: &dyn std::fmt::Display| CommandError::usage(format!("{}: {fault}", file.display()));
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(_) => Err(fault(&"is no file")),
        Err(error) => Err(fault(&error)),
    }
}

/// Announces a file, puts it to the URL it is given, and has it checked.
async fn put(
    client: &Client,
    console: Console,
    command: &args::Upload,
    content_type: &str,
    size: u64,
) -> Result<Upload, CommandError> {
    let file = command.file.as_path();
    let wish = CreateUpload {
        filename: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        content_type: content_type.to_owned(),
        size,
        sha256: None,
        purpose: Some(command.purpose.clone()),
        workload: command.workload.clone(),
    };
    let created: CreatedUpload = client.post("/v1/uploads", &wish).await?;
    let bar = bytes_bar(console, size);
    let shown = bar.clone();
    client.put_file(&created.url, created.headers, file, move |bytes| shown.inc(bytes)).await?;
    bar.finish_and_clear();
    Ok(client.post_long(&format!("/v1/uploads/{}/complete", created.id), &json!({})).await?)
}

pub(crate) async fn download(command: args::Download, host: &dyn Host) -> Result<ExitCode, CommandError> {
    let client = host.connect().await?;
    let console = host.console();
    let artifacts = named(&client, command.id).await?;
    let mut files = Vec::new();
    for artifact in &artifacts {
        files.push(place(&command.out, artifact, &files));
    }
    // before the first of them is written: who is refused has what they had
    let mut wanted = Vec::new();
    for (artifact, file) in artifacts.iter().zip(&files) {
        wanted.push(command.force || !is_there(artifact, file)?);
    }
    std::fs::create_dir_all(&command.out).with_context(|| format!("can't make {}", command.out.display()))?;
    let fetch = async {
        for ((artifact, file), wanted) in artifacts.iter().zip(&files).zip(wanted) {
            if !wanted {
                output::note(console, format_args!("{} is there already", file.display()));
                continue;
            }
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("can't make {}", folder.display()))?;
            }
            client.download_to(&artifact.download, file).await?;
        }
        Ok::<_, CommandError>(())
    };
    tokio::select! {
        fetched = fetch => fetched?,
        // what is begun is dropped, and removes its file
        () = host.interrupted() => return Err(anyhow::Error::msg("stopped before the last file was there").into()),
    }
    output::result(console, &files, |out| {
        files.iter().try_for_each(|file| writeln!(out, "{}", file.display()))
    })?;
    Ok(ExitCode::Ok)
}

/// The artifact of this id, or the latest ones of the job of this id.
async fn named(client: &Client, id: uuid::Uuid) -> Result<Vec<Artifact>, CommandError> {
    match client.get::<Artifact>(&format!("/v1/artifacts/{id}")).await {
        Ok(artifact) => return Ok(vec![artifact]),
        Err(ClientError::Problem(problem)) if problem.status == 404 => {}
        Err(error) => return Err(error.into()),
    }
    let groups = client.get::<Vec<ArtifactGroup>>(&format!("/v1/jobs/{id}/artifacts")).await;
    let groups = groups.map_err(|error| match error {
        ClientError::Problem(problem) if problem.status == 404 => {
            let message = format!("there is no artifact and no job {id}");
            CommandError::new(ExitCode::Failed, anyhow::Error::msg(message))
        }
        error => error.into(),
    })?;
    Ok(groups.into_iter().map(|group| group.latest).collect())
}

/// Whether the artifact is where it would go.
///
/// # Errors
/// Something else is there, or it can't be read.
fn is_there(artifact: &Artifact, file: &Path) -> Result<bool, CommandError> {
    let metadata = match std::fs::symlink_metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("can't look at {}", file.display()))?,
    };
    if metadata.is_file() && metadata.len() == artifact.size {
        let unreadable = || format!("can't read {}", file.display());
        let mut digest = Sha256::new();
        let mut content = std::fs::File::open(file).with_context(unreadable)?;
        std::io::copy(&mut content, &mut digest).with_context(unreadable)?;
        if hex::encode(digest.finalize()) == artifact.sha256 {
            return Ok(true);
        }
    }
    let message = format!(
        "{} is there already, with other content: nothing was downloaded. Name another directory with --out, or overwrite with --force",
        file.display()
    );
    Err(CommandError::new(ExitCode::Failed, anyhow::Error::msg(message)))
}

/// Where an artifact goes: under its own name, or in a folder of its kind where an earlier one has taken that name.
fn place(out: &Path, artifact: &Artifact, taken: &[PathBuf]) -> PathBuf {
    let path = out.join(safe_name(&artifact.filename));
    if taken.contains(&path) {
        return out.join(safe_name(&artifact.kind)).join(safe_name(&artifact.filename));
    }
    path
}

/// A name that a server suggests, with its folders: it never leads out of the directory that the user chose.
fn safe_name(suggested: &str) -> PathBuf {
    let plain = |part| matches!(part, Component::Normal(_));
    let name: PathBuf = Path::new(suggested).components().filter(|part| plain(*part)).collect();
    if name.as_os_str().is_empty() { PathBuf::from("artifact") } else { name }
}

fn bytes_bar(console: Console, size: u64) -> ProgressBar {
    if !console.interactive {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("upload {bar:32} {bytes}/{total_bytes} {binary_bytes_per_sec}")
        .expect("the template is a literal");
    ProgressBar::new(size).with_style(style)
}

fn content_type_of(file: &Path) -> &'static str {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match name.rsplit('.').next() {
        Some("jsonl" | "ndjson") => "application/x-ndjson",
        Some("json") => "application/json",
        Some("csv") => "text/csv",
        Some("gz") => "application/gzip",
        Some("txt" | "md") => "text/plain",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_name_never_leaves_the_directory() {
        let cases = [
            ("records.csv", "records.csv"),
            ("../../etc/passwd", "etc/passwd"),
            ("jsonl/a=red/part-0.jsonl", "jsonl/a=red/part-0.jsonl"),
            ("..", "artifact"),
            ("/abs", "abs"),
            ("", "artifact"),
        ];
        for (suggested, safe) in cases {
            assert_eq!(safe_name(suggested), PathBuf::from(safe), "{suggested}");
        }
    }
}
