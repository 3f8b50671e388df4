//! Taking names from images, as people do it: an image goes with its last name.

use std::collections::BTreeSet;

use super::{Digest, Image, ImageStore, Reference};
use crate::disk::DiskError;

/// Why no name was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UntagError {
    /// Nothing has this name.
    #[error("no image {0:?}")]
    NotFound(String),
    /// An identifier is not enough to say what is meant.
    #[error("image {id} has names in several repositories: {}; name those that shall go, or use --force", names.join(", "))]
    Several {
        /// The image.
        id: Digest,
        /// All its names.
        names: Vec<String>,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Untagged {
    /// The names that are gone.
    pub names: Vec<String>,
    /// The image that has none any more, and is to be removed.
    pub last: Option<Digest>,
}

impl ImageStore {
    /// Takes a name from its image: a tag (with the digests of its repository, if no other tag of that is left) or a
    /// digest. An identifier stands for all names of its image, which are to be of one repository unless `force` is set.
    /// Blocks.
    pub(crate) fn untag(&self, text: &str, force: bool) -> Result<Untagged, UntagError> {
        let image = self.find(text).ok_or_else(|| UntagError::NotFound(text.to_owned()))?;
        let names = names_to_take(&image, text, force)?;
        let last = self.take_names(&image.id, &names)?;
        Ok(Untagged { names: names.into_iter().collect(), last: last.then(|| image.id.clone()) })
    }
}

fn names_to_take(image: &Image, text: &str, force: bool) -> Result<BTreeSet<String>, UntagError> {
    let reference = Reference::parse(text).ok();
    if let Some(reference) = reference {
        if let Some(name) = reference.digest().map(|digest| reference.with_digest(digest))
            && image.digests.contains(&name)
        {
            return Ok([name].into());
        }
        if let Some(tag) = reference.tagged().filter(|tag| image.tags.contains(tag)) {
            let repository = reference.name();
            let is_last = !image.tags.iter().any(|other| *other != tag && repository_of(other) == repository);
            let digests = image.digests.iter().filter(|name| is_last && repository_of(name) == repository);
            return Ok(digests.cloned().chain([tag.clone()]).collect());
        }
    }
    let names: BTreeSet<String> = image.tags.union(&image.digests).cloned().collect();
    let repositories: BTreeSet<&str> = names.iter().map(|name| repository_of(name)).collect();
    if repositories.len() > 1 && !force {
        return Err(UntagError::Several { id: image.id.clone(), names: image.tags.iter().cloned().collect() });
    }
    Ok(names)
}

/// A complete name without its tag or digest.
fn repository_of(name: &str) -> &str {
    match name.split_once('@') {
        Some((repository, _)) => repository,
        None => name.rsplit_once(':').map_or(name, |(repository, _)| repository),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use jiff::Timestamp;

    use super::*;
    use crate::image::archive::{ImageOptions, build};
    use crate::image::import;

    /// A store with one image that has these tags, and the digest of its manifest.
    fn store(tags: &[&str]) -> (tempfile::TempDir, ImageStore, String) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = ImageStore::open(&dir.path().join("data")).expect("opened");
        let (rootfs, mut archive) = (dir.path().join("rootfs"), Vec::new());
        std::fs::create_dir(&rootfs).expect("made");
        build(&rootfs, "r.io/x", &ImageOptions::default(), &mut archive).expect("built");
        for tag in tags {
            let name = Reference::parse(tag).expect("a name");
            import(&store, io::Cursor::new(archive.clone()), Some(&name), Timestamp::UNIX_EPOCH).expect("imported");
        }
        let digest = store.list()[0].manifest.as_ref().expect("it came with one").to_string();
        (dir, store, digest)
    }

    /// What is left of an image's tags after each of the names was taken.
    #[track_caller]
    fn check(tags: &[&str], taken: &[(&str, &[&str])]) {
        let (dir, store, digest) = store(tags);
        let id = store.list()[0].id.to_string();
        for (name, left) in taken {
            let name = name.replace("DIGEST", &digest).replace("ID", &id);
            let untagged = store.untag(&name, false).expect("taken");
            let image = store.find(&id).expect("it is removed by the caller");
            assert_eq!(image.tags.iter().map(String::as_str).collect::<Vec<_>>(), *left, "{name}");
            assert_eq!(untagged.last.is_some(), image.tags.is_empty() && image.digests.is_empty(), "{name}");
            let reopened = ImageStore::open(&dir.path().join("data")).expect("opened");
            assert_eq!(reopened.find(&id).expect("it is recorded").tags, image.tags, "{name}");
        }
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: not root");
        }
        root
    }

    #[test]
    fn a_name_goes_and_the_others_stay() {
        if !is_root() {
            return;
        }
        let taken: [(&str, &[&str]); 3] =
            [("r.io/a:1", &["r.io/a:2", "r.io/b:1"]), ("r.io/b:1", &["r.io/a:2"]), ("r.io/a:2", &[])];
        check(&["r.io/a:1", "r.io/a:2", "r.io/b:1"], &taken);
        check(&["r.io/a:1"], &[("r.io/a@DIGEST", &["r.io/a:1"]), ("r.io/a:1", &[])]);
        check(&["r.io/a:1", "r.io/a:2"], &[("ID", &[])]);
    }

    #[test]
    fn an_identifier_of_several_repositories_is_not_enough() {
        if !is_root() {
            return;
        }
        let (_dir, store, _) = store(&["r.io/a:1", "r.io/b:1"]);
        let image = store.list().remove(0);
        assert!(matches!(store.untag("r.io/c:1", false), Err(UntagError::NotFound(_))));
        let err = store.untag(image.id.as_str(), false).expect_err("which one?");
        assert!(err.to_string().contains("r.io/a:1, r.io/b:1"), "{err}");
        assert_eq!(store.untag(image.id.as_str(), true).expect("all").last, Some(image.id.clone()));
    }
}
