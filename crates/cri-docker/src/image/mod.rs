//! Images.

mod fs_info;
mod list;
mod pull;
mod remove;
mod status;

use bollard::models::ImageInspect;
use cri::Int64Value;

use crate::engine::Engine;
use crate::errors::{DockerError, Doing};
use crate::pause;

pub(crate) use fs_info::fs_info;
pub(crate) use list::list;
pub(crate) use pull::{by_name as pull_by_name, pull};
pub(crate) use remove::remove;
pub(crate) use status::status;

/// How names are written that stand for no name.
const NO_NAME: &str = "<none>";

/// An image by any of its names; nothing where there is none.
async fn find(engine: &Engine, name: &str) -> Result<Option<ImageInspect>, DockerError> {
    if name.is_empty() {
        return Ok(None);
    }
    match engine.docker.inspect_image(name).await.doing(format!("inspect image {name}")) {
        Ok(image) => Ok(Some(image)),
        Err(err) if err.is_not_found() => Ok(None),
        Err(err) => Err(err),
    }
}

/// The image without what only its configuration tells.
fn item(engine: &Engine, id: &str, tags: &[String], digests: &[String], size: i64) -> cri::Image {
    let named = |names: &[String]| names.iter().filter(|name| !name.contains(NO_NAME)).cloned().collect();
    let pause = pause::name(engine);
    cri::Image {
        id: id.to_owned(),
        repo_tags: named(tags),
        repo_digests: named(digests),
        size: u64::try_from(size).unwrap_or(0),
        // Sandboxes need it, and the one that is made here is nowhere to be pulled from.
        pinned: tags.contains(&pause),
        ..cri::Image::default()
    }
}

/// The user that an image says, by number or by name.
fn user(text: &str) -> (Option<Int64Value>, String) {
    let name = text.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(value) => (Some(Int64Value { value }), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        assert_eq!(user("1000:7"), (Some(Int64Value { value: 1000 }), String::new()));
        assert_eq!(user("web"), (None, "web".to_owned()));
        assert_eq!(user(""), (None, String::new()));
    }
}
