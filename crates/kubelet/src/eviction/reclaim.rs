//! Gives up what nothing uses before a pod has to go: containers of pods that have ended, and images.

use super::observe::Layout;
use super::threshold::Signal;
use crate::context::Context;
use crate::pods;

/// Removes what nothing uses on the disk that is short; false where nothing there can be given up.
pub async fn unused(context: &Context, signal: Signal, layout: Layout) -> bool {
    let (containers, images) = worthwhile(signal, layout);
    if containers {
        let removed = pods::remove_unused_containers(context).await;
        tracing::info!(removed, signal = signal.as_str(), "removed containers of pods that have ended");
    }
    if images && let Err(err) = context.image_collector.remove_unused(context).await {
        tracing::warn!(err = %err, "unused images cannot be removed");
    }
    containers || images
}

/// Whether it helps to remove containers, and images.
fn worthwhile(signal: Signal, layout: Layout) -> (bool, bool) {
    let of_node = matches!(signal, Signal::NodeFsAvailable | Signal::NodeFsInodesFree);
    let of_images = matches!(signal, Signal::ImageFsAvailable | Signal::ImageFsInodesFree);
    let of_containers = matches!(signal, Signal::ContainerFsAvailable | Signal::ContainerFsInodesFree);
    let of_disk = of_node || of_images || of_containers;
    match layout {
        Layout::Shared => (of_disk, of_disk),
        Layout::ImagesApart => (of_disk && !of_node, of_disk && !of_node),
        Layout::ImagesAlone => (of_node || of_containers, of_images),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_lies_on_the_disk_that_is_short() {
        for (signal, layout, expected) in [
            (Signal::MemoryAvailable, Layout::Shared, (false, false)),
            (Signal::PidAvailable, Layout::ImagesApart, (false, false)),
            (Signal::NodeFsAvailable, Layout::Shared, (true, true)),
            (Signal::NodeFsInodesFree, Layout::ImagesApart, (false, false)),
            (Signal::ImageFsAvailable, Layout::ImagesApart, (true, true)),
            (Signal::NodeFsAvailable, Layout::ImagesAlone, (true, false)),
            (Signal::ContainerFsAvailable, Layout::ImagesAlone, (true, false)),
            (Signal::ImageFsInodesFree, Layout::ImagesAlone, (false, true)),
        ] {
            assert_eq!(worthwhile(signal, layout), expected, "{signal:?} {layout:?}");
        }
    }
}
