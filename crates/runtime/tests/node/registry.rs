//! Images by all their names, from a registry: pulled, looked up, listed and removed as the CRI project's validation suite
//! does it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cri::{ImageSpec, PodSandboxConfig};
use skiff_runtime::image::archive::ImageOptions;

use crate::skip_without_privileges;
use crate::sparse::{container, pod, run};
use crate::support::{Host, archive, eventually, strings};

/// A registry on this machine, filled by skopeo.
pub struct Registry {
    process: Child,
    pub address: String,
}

impl Registry {
    /// Starts one, where the machine has the programs for it.
    pub async fn start(dir: &Path) -> Option<Self> {
        if !Path::new("/usr/bin/docker-registry").exists() || !Path::new("/usr/bin/skopeo").exists() {
            eprintln!("SKIPPED: no docker-registry or skopeo");
            return None;
        }
        // The registry cannot be asked for a free port, so one is looked for.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            dir.join("registry").display(),
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the registry starts");
        let registry = Self { process, address };
        eventually("the registry listens", || std::net::TcpStream::connect(&registry.address).ok()).await;
        Some(registry)
    }

    pub fn push(&self, archive: &Path, name: &str) {
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("oci-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .status()
            .expect("skopeo runs");
        assert!(status.success());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Gone or not, it is reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spec(name: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: name.to_owned(), ..Default::default() })
}

/// Pulls for a pod that says nothing of itself: the reference that the answer has.
async fn pull(host: &mut Host, name: &str) -> String {
    let sandbox_config = Some(PodSandboxConfig::default());
    let request = cri::PullImageRequest { image: spec(name), auth: None, sandbox_config };
    host.images.pull_image(request).await.expect("pulled").into_inner().image_ref
}

async fn status(host: &mut Host, name: &str) -> Option<cri::Image> {
    let request = cri::ImageStatusRequest { image: spec(name), verbose: false };
    host.images.image_status(request).await.expect("answered").into_inner().image
}

async fn listed(host: &mut Host, filter: &str) -> Vec<cri::Image> {
    let filter = Some(cri::ImageFilter { image: spec(filter) });
    host.images.list_images(cri::ListImagesRequest { filter }).await.expect("listed").into_inner().images
}

/// Removes an image by its identifier, several times at once; it is gone when the first call returns.
async fn remove(host: &mut Host, name: &str) {
    let id = status(host, name).await.expect("it is here").id;
    let calls = (0..5).map(|_| {
        let (mut images, image) = (host.images.clone(), spec(&id));
        async move {
            images.remove_image(cri::RemoveImageRequest { image: image.clone() }).await.expect("removed");
            images.image_status(cri::ImageStatusRequest { image, verbose: false }).await.expect("answered").into_inner()
        }
    });
    for answer in futures::future::join_all(calls).await {
        assert!(answer.image.is_none(), "{answer:?}");
    }
    assert!(status(host, name).await.is_none() && listed(host, name).await.is_empty());
}

#[tokio::test]
async fn images_are_known_by_all_their_names_and_gone_at_once() {
    skip_without_privileges!();
    let mut host = Host::start_with(Some("10.207.30.0/24")).await;
    let Some(registry) = Registry::start(host.dir()).await else { return };
    let image = |name: &str, user: Option<&str>| {
        let user = user.map(str::to_owned);
        let options = ImageOptions { user, cmd: strings(&["busybox", "top"]), ..Default::default() };
        archive(host.dir(), &format!("user:{name}"), &options)
    };
    // One image under several names, and one for each way to say a user.
    let plain = image("none", None);
    for name in ["image-latest:latest", "image-tags:1", "image-tags:2", "image-tags:3", "elsewhere/image:test"] {
        registry.push(&plain, name);
    }
    for (name, user) in
        [("uid", "1002"), ("name", "www-data"), ("uid-group", "1003:3000"), ("name-group", "www-data:groups")]
    {
        registry.push(&image(name, Some(user)), &format!("user-{name}:latest"));
    }
    let address = registry.address.clone();
    let named = |name: &str| format!("{address}/{name}");
    let by_tag = pull(&mut host, &named("image-tags:1")).await;
    let found = status(&mut host, &named("image-tags:1")).await.expect("it is here");
    assert_eq!((&found.id, &found.repo_tags[..]), (&by_tag, &[named("image-tags:1")][..]));
    assert!(found.size > 0);
    for name in [&found.id, &found.repo_tags[0], &found.repo_digests[0]] {
        assert_eq!(status(&mut host, name).await.as_ref(), Some(&found), "{name}");
        assert_eq!(listed(&mut host, name).await, std::slice::from_ref(&found), "{name}");
    }
    let by_digest = found.repo_digests[0].clone();
    remove(&mut host, &by_tag).await;
    assert_eq!(pull(&mut host, &by_digest).await, by_tag);
    let found = status(&mut host, &by_digest).await.expect("it is here");
    assert_eq!((found.repo_tags.len(), found.repo_digests), (0, vec![by_digest.clone()]));
    remove(&mut host, &by_digest).await;
    pull(&mut host, &named("image-latest")).await;
    let found = status(&mut host, &named("image-latest")).await.expect("it is here");
    assert_eq!(found.repo_tags, [named("image-latest:latest")]);
    remove(&mut host, &named("image-latest")).await;
    // The same image whatever it is called and wherever it is from.
    let mut tags = Vec::new();
    for name in ["image-tags:1", "image-tags:2", "image-tags:3", "elsewhere/image:test"] {
        assert_eq!(pull(&mut host, &named(name)).await, by_tag, "{name}");
        tags.push(named(name));
    }
    let [found] = &listed(&mut host, "").await[..] else { panic!("one image") };
    let mut of_image = found.repo_tags.clone();
    of_image.sort();
    tags.sort();
    assert_eq!(of_image, tags);
    let sandbox = run(&mut host, pod("identified")).await;
    let mut config = container("c", &[]);
    let user_specified_image = named("elsewhere/image:test");
    config.image = Some(ImageSpec { image: by_tag.clone(), user_specified_image, ..Default::default() });
    let id = host.run(&sandbox, config).await;
    assert_eq!(host.status(&id).await.image_id, by_tag);
    let containers = host.runtime.list_containers(cri::ListContainersRequest { filter: None }).await.expect("listed");
    assert_eq!(containers.into_inner().containers[0].image_id, by_tag);
    for (name, uid, username) in
        [("uid", 1002, ""), ("name", 0, "www-data"), ("uid-group", 1003, ""), ("name-group", 0, "www-data")]
    {
        let name = named(&format!("user-{name}"));
        pull(&mut host, &name).await;
        let found = status(&mut host, &name).await.expect("it is here");
        let number = found.uid.map_or(0, |uid| uid.value);
        assert_eq!((number, found.username.as_str()), (uid, username), "{name}");
    }
    assert_eq!(listed(&mut host, "").await.len(), 5);
}
