//! `ContainerStats` and `ListContainerStats`.

use std::sync::Arc;

use bollard::models::{
    ContainerMemoryStats, ContainerStatsResponse as Figures, ContainerSummary, ContainerSummaryStateEnum,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use cri::{
    ContainerAttributes, ContainerFilter, ContainerStats, ContainerStatsRequest, ContainerStatsResponse, CpuUsage,
    FilesystemIdentifier, FilesystemUsage, ListContainerStatsRequest, ListContainerStatsResponse, MemoryUsage, Status,
};
use futures::StreamExt;
use jiff::Timestamp;

use super::{AT_ONCE, value};
use crate::engine::Engine;
use crate::errors::{DockerError, Doing, no_container};
use crate::record::{self, ContainerRecord, Filters, Record};
use crate::times::nanoseconds;

/// More than any memory: what Docker tells where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// One container.
pub(crate) async fn one(
    engine: &Arc<Engine>,
    request: ContainerStatsRequest,
) -> Result<ContainerStatsResponse, Status> {
    let filter = ContainerFilter { id: request.container_id.clone(), ..ContainerFilter::default() };
    let found = all(engine, &record::containers(&filter)).await?;
    let stats = found.into_iter().next().ok_or_else(|| no_container(&request.container_id))?;
    Ok(ContainerStatsResponse { stats: Some(stats) })
}

/// All that run.
pub(crate) async fn list(
    engine: &Arc<Engine>,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse, Status> {
    let wanted = request.filter.unwrap_or_default();
    let filter = ContainerFilter {
        id: wanted.id,
        pod_sandbox_id: wanted.pod_sandbox_id,
        label_selector: wanted.label_selector,
        ..ContainerFilter::default()
    };
    Ok(ListContainerStatsResponse { stats: all(engine, &record::containers(&filter)).await? })
}

/// The figures of the containers that Docker's filters mean and that run.
pub(super) async fn all(engine: &Engine, filters: &Filters) -> Result<Vec<ContainerStats>, DockerError> {
    let options = ListContainersOptionsBuilder::new().all(false).size(true).filters(filters).build();
    let found = engine.docker.list_containers(Some(options)).await.doing("list containers and their sizes")?;
    let running = found.into_iter().filter(|container| container.state == Some(ContainerSummaryStateEnum::RUNNING));
    let stats = futures::stream::iter(running).map(|container| of(engine, container)).buffered(AT_ONCE);
    // One that ends meanwhile is left out.
    Ok(stats.filter_map(std::future::ready).collect().await)
}

async fn of(engine: &Engine, container: ContainerSummary) -> Option<ContainerStats> {
    let record = ContainerRecord::read(container.labels.as_ref())?;
    let id = container.id?;
    let figures = figures(engine, &id).await?;
    let now = engine.env.now();
    Some(ContainerStats {
        cpu: cpu(engine, &id, &figures, now),
        memory: figures.memory_stats.as_ref().and_then(|memory| self::memory(memory, now)),
        io: None,
        writable_layer: Some(FilesystemUsage {
            timestamp: nanoseconds(now),
            fs_id: Some(FilesystemIdentifier { mountpoint: engine.daemon.root_dir.display().to_string() }),
            // Docker leaves out what is zero.
            used_bytes: value(Some(container.size_rw.and_then(|size| u64::try_from(size).ok()).unwrap_or(0))),
            inodes_used: None,
        }),
        swap: None,
        attributes: Some(ContainerAttributes {
            id,
            metadata: record.config.metadata,
            labels: record.config.labels,
            annotations: record.config.annotations,
        }),
    })
}

async fn figures(engine: &Engine, id: &str) -> Option<Figures> {
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    std::pin::pin!(engine.docker.stats(id, Some(options))).next().await?.ok()
}

fn cpu(engine: &Engine, id: &str, figures: &Figures, now: Timestamp) -> Option<CpuUsage> {
    let used = figures.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    Some(CpuUsage {
        timestamp: nanoseconds(now),
        usage_core_nano_seconds: value(Some(used)),
        usage_nano_cores: value(engine.cpu_rate(id, now, used)),
        psi: None,
    })
}

/// Figures of either version of cgroups.
fn memory(memory: &ContainerMemoryStats, now: Timestamp) -> Option<MemoryUsage> {
    let usage = memory.usage?;
    let stats = memory.stats.clone().unwrap_or_default();
    let first = |names: [&str; 2]| names.iter().find_map(|name| stats.get(*name).copied());
    let working_set = usage.saturating_sub(first(["total_inactive_file", "inactive_file"]).unwrap_or(0));
    let limit = memory.limit.filter(|limit| *limit < NO_LIMIT);
    Some(MemoryUsage {
        timestamp: nanoseconds(now),
        working_set_bytes: value(Some(working_set)),
        available_bytes: value(limit.map(|limit| limit.saturating_sub(working_set))),
        usage_bytes: value(Some(usage)),
        rss_bytes: value(first(["total_rss", "anon"])),
        page_faults: value(first(["total_pgfault", "pgfault"])),
        major_page_faults: value(first(["total_pgmajfault", "pgmajfault"])),
        psi: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_dropped_is_not_in_the_working_set() {
        let stats = [("total_inactive_file", 30), ("total_rss", 50), ("total_pgfault", 7)];
        let figures = ContainerMemoryStats {
            usage: Some(100),
            limit: Some(u64::MAX),
            stats: Some(stats.map(|(name, value)| (name.to_owned(), value)).into()),
            ..ContainerMemoryStats::default()
        };
        let usage = memory(&figures, Timestamp::UNIX_EPOCH).expect("figures");
        assert_eq!((usage.working_set_bytes, usage.rss_bytes), (value(Some(70)), value(Some(50))));
        assert_eq!((usage.available_bytes, usage.major_page_faults), (None, None));
    }
}
