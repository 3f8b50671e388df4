//! `/logs/`: the machine's log files, and lists of their directories.

use std::fmt::Write;
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use tokio_util::io::ReaderStream;

use super::log_query::{self, LogQuery};
use super::pods::Refusal;
use crate::context::{Context, Shared};

/// `/logs/`: a list of files, or what a query asks for.
pub async fn root(State(context): State<Shared>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    if context.config.system_log_query {
        let query = LogQuery::parse(query.as_deref().unwrap_or_default());
        if let Some(query) = query.map_err(|err| Refusal(StatusCode::BAD_REQUEST, format!("{err}\n")))? {
            return log_query::serve(&context, &query).await;
        }
    }
    file(&context, "").await
}

/// A file, or what a directory has.
pub async fn serve(State(context): State<Shared>, UrlPath(name): UrlPath<String>) -> Result<Response, Refusal> {
    file(&context, &name).await
}

/// A file below the directory of logs, or what a directory there has.
async fn file(context: &Context, name: &str) -> Result<Response, Refusal> {
    let (path, metadata) = find(context, name).await?;
    if !metadata.is_dir() {
        return content(&path, &metadata).await;
    }
    if !name.is_empty() && !name.ends_with('/') {
        // Links in the list begin where the directory is.
        let last = name.rsplit('/').next().unwrap_or_default();
        return Ok(Redirect::permanent(&format!("{last}/")).into_response());
    }
    let list = list(&path).await.map_err(|_| not_found())?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], list).into_response())
}

/// A file below the directory of logs, and nothing else.
pub async fn plain_file(context: &Context, name: &str) -> Result<Response, Refusal> {
    let (path, metadata) = find(context, name).await?;
    content(&path, &metadata).await
}

fn not_found() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

async fn find(context: &Context, name: &str) -> Result<(PathBuf, Metadata), Refusal> {
    let path = inside(&context.config.system_logs_dir, name).await.ok_or_else(not_found)?;
    let metadata = tokio::fs::metadata(&path).await.map_err(|_| not_found())?;
    Ok((path, metadata))
}

async fn content(path: &Path, metadata: &Metadata) -> Result<Response, Refusal> {
    if !metadata.is_file() {
        return Err(not_found());
    }
    let file = tokio::fs::File::open(path).await.map_err(|_| not_found())?;
    let body = Body::from_stream(ReaderStream::new(file));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// A path below the root, also when links have been followed: pods may have put them there.
async fn inside(root: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    let root = tokio::fs::canonicalize(root).await.ok()?;
    tokio::fs::canonicalize(root.join(relative)).await.ok().filter(|path| path.starts_with(&root))
}

/// A page with links to what a directory has.
async fn list(dir: &Path) -> std::io::Result<String> {
    let mut names = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        let slash = if entry.file_type().await?.is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort_unstable();
    let mut page = String::from("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n");
    for name in names {
        let link: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let link = link.replace('+', "%20").replace("%2F", "/");
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<a href=\"{link}\">{}</a>", escaped(&name));
    }
    page.push_str("</pre>\n");
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_below_the_root_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("log");
        std::fs::create_dir_all(root.join("sub")).expect("made");
        std::fs::write(root.join("sub/a b.log"), "text").expect("written");
        std::fs::write(dir.path().join("secret"), "text").expect("written");
        std::os::unix::fs::symlink("../secret", root.join("link")).expect("linked");
        std::os::unix::fs::symlink("sub/a b.log", root.join("good")).expect("linked");
        for (name, is_found) in
            [("", true), ("sub/", true), ("sub/a b.log", true), ("good", true), ("link", false), ("../secret", false)]
        {
            assert_eq!(inside(&root, name).await.is_some(), is_found, "{name}");
        }
        let page = list(&root.join("sub")).await.expect("a list");
        assert!(page.contains("<a href=\"a%20b.log\">a b.log</a>"), "{page}");
        assert!(list(&root).await.expect("a list").contains("<a href=\"sub/\">sub/</a>"));
    }
}
