//! What the kubelet's server does for those who may ask.

use super::*;

#[tokio::test]
async fn a_checkpoint_is_made_by_the_runtime_and_told_of() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(web()).await;
    stage.until_phase("web", "Running").await;
    let checkpoint = async |what: &str| stage.ask("POST", &format!("/checkpoint/default/{what}"), "operators").await;
    let (head, body) = checkpoint("web/a?timeout=7").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
    let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let place = Path::new(told["items"][0].as_str().expect("a path"));
    assert_eq!(place.parent(), Some(stage.kubelet_dir().join("checkpoints").as_path()));
    assert!(place.file_name().expect("a name").to_string_lossy().starts_with("checkpoint-web_default-a-"), "{place:?}");
    assert_eq!(std::fs::read_to_string(place).expect("made"), "a 7");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(place.parent().expect("there")).expect("there"));
    assert_eq!(mode & 0o777, 0o700);

    for (what, status, message) in [
        ("none/a", "404", "pod \"none\" not found"),
        ("web/none", "404", "container none does not exist"),
        ("web/a?timeout=soon", "404", "cannot parse value of timeout parameter"),
    ] {
        let (head, body) = checkpoint(what).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.starts_with(message), "{head} {body}");
    }
    let (head, _) = stage.ask("POST", "/checkpoint/default/web/a", "developers").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    stage.runtime.exit("a", 0);
    stage.runtime.refuse_starts("a", 100);
    let failed = async || {
        let (head, body) = checkpoint("web/a").await;
        let text = "checkpointing of default/web/a failed (it does not run)";
        (head.starts_with("HTTP/1.1 500") && body == text).then_some(())
    };
    stage.until("a failure of the runtime", failed).await;
}
