//! The metrics of a container.

use super::source::{Place, Source, per_device};
use super::{Family, Value, counter, gauge, one};

const fn place(v1: (&'static str, &'static str, &'static str), v2: (&'static str, &'static str)) -> Place {
    Place { v1, v2 }
}

/// A figure of `memory.stat`: its names.
const fn memory(v1: &'static str, v2: &'static str) -> Place {
    place(("memory", "memory.stat", v1), ("memory.stat", v2))
}

const CPU_USAGE: Place = place(("cpuacct", "cpuacct.usage", ""), ("cpu.stat", "usage_usec"));
const CPU_USER: Place = place(("cpuacct", "cpuacct.usage_user", ""), ("cpu.stat", "user_usec"));
const CPU_SYSTEM: Place = place(("cpuacct", "cpuacct.usage_sys", ""), ("cpu.stat", "system_usec"));
const PERIODS: Place = place(("cpu", "cpu.stat", "nr_periods"), ("cpu.stat", "nr_periods"));
const THROTTLED: Place = place(("cpu", "cpu.stat", "nr_throttled"), ("cpu.stat", "nr_throttled"));
const THROTTLED_TIME: Place = place(("cpu", "cpu.stat", "throttled_time"), ("cpu.stat", "throttled_usec"));
const CACHE: Place = memory("total_cache", "file");
const RSS: Place = memory("total_rss", "anon");
const MAPPED: Place = memory("total_mapped_file", "file_mapped");
const FAULTS: Place = memory("total_pgfault", "pgfault");
const MAJOR_FAULTS: Place = memory("total_pgmajfault", "pgmajfault");
const SWAP: Place = place(("memory", "memory.stat", "total_swap"), ("memory.swap.current", ""));
const KERNEL: Place = place(("memory", "memory.kmem.usage_in_bytes", ""), ("memory.stat", "kernel"));
const USAGE: Place = place(("memory", "memory.usage_in_bytes", ""), ("memory.current", ""));
const MAX_USAGE: Place = place(("memory", "memory.max_usage_in_bytes", ""), ("memory.peak", ""));
const LIMIT_HITS: Place = place(("memory", "memory.failcnt", ""), ("memory.events", "max"));
const THREADS: Place = place(("pids", "pids.current", ""), ("pids.current", ""));
const THREADS_MAX: Place = place(("pids", "pids.max", ""), ("pids.max", ""));

/// Whole seconds: version 1 counts nanoseconds, version 2 microseconds.
fn seconds(source: &Source, place: &Place) -> Option<u64> {
    let unit = if source.cgroup.is_v2() { 1_000_000 } else { 1_000_000_000 };
    Some(source.figure(place)? / unit)
}

fn wanted(limit: i64) -> Vec<Value> {
    one(u64::try_from(limit).ok())
}

fn pressure(source: &Source, resource: &str, is_full: bool) -> Vec<Value> {
    let data = source.cgroup.pressure(resource).and_then(|psi| if is_full { psi.full } else { psi.some });
    one(data.map(|data| data.total / 1_000_000_000))
}

fn file_system(source: &Source, pick: fn(u64, u64, u64) -> u64) -> Vec<Value> {
    let found = source.file_system();
    found.map(|(device, bytes, inodes, free)| (vec![device], pick(bytes, inodes, free))).into_iter().collect()
}

const BYTES: &str = "blkio.throttle.io_service_bytes_recursive";
const OPERATIONS: &str = "blkio.throttle.io_serviced_recursive";
const READ: usize = 0;
const WRITE: usize = 1;

fn disk_bytes(source: &Source) -> Vec<(String, [u64; 2])> {
    source.disk(BYTES, ["rbytes", "wbytes"])
}

fn disk_operations(source: &Source) -> Vec<(String, [u64; 2])> {
    source.disk(OPERATIONS, ["rios", "wios"])
}

fn device_usage(source: &Source) -> Vec<Value> {
    let both = |(device, bytes): (String, [u64; 2])| {
        let (major, minor) = device.split_once(':').unwrap_or((&device, ""));
        [("Read", bytes[READ]), ("Write", bytes[WRITE])]
            .map(|(operation, value)| ([device.as_str(), major, minor, operation].map(str::to_owned).to_vec(), value))
    };
    disk_bytes(source).into_iter().flat_map(both).collect()
}

fn failures(source: &Source) -> Vec<Value> {
    let kinds = [("pgfault", &FAULTS), ("pgmajfault", &MAJOR_FAULTS)];
    let value = |(name, place): (&str, &Place)| {
        source.figure(place).map(|value| (vec![name.to_owned(), "container".to_owned()], value))
    };
    kinds.into_iter().filter_map(value).collect()
}

/// Everything.
pub(super) const FAMILIES: &[Family<Source>] = &[
    counter("container_cpu_usage_seconds_total", "CPU time consumed, in seconds.", &["cpu"], |source| {
        seconds(source, &CPU_USAGE).map(|value| (vec!["total".to_owned()], value)).into_iter().collect()
    }),
    counter("container_cpu_user_seconds_total", "CPU time consumed by programs, in seconds.", &[], |source| {
        one(seconds(source, &CPU_USER))
    }),
    counter("container_cpu_system_seconds_total", "CPU time consumed by the kernel, in seconds.", &[], |source| {
        one(seconds(source, &CPU_SYSTEM))
    }),
    counter("container_cpu_cfs_periods_total", "Periods in which CPU time was limited.", &[], |source| {
        one(source.figure(&PERIODS))
    }),
    counter("container_cpu_cfs_throttled_periods_total", "Periods in which the limit was reached.", &[], |source| {
        one(source.figure(&THROTTLED))
    }),
    counter("container_cpu_cfs_throttled_seconds_total", "Time spent waiting for a period's end.", &[], |source| {
        one(seconds(source, &THROTTLED_TIME))
    }),
    gauge("container_memory_cache", "Bytes of page cache.", &[], |source| one(source.figure(&CACHE))),
    gauge("container_memory_rss", "Bytes of anonymous memory.", &[], |source| one(source.figure(&RSS))),
    gauge("container_memory_mapped_file", "Bytes of mapped files.", &[], |source| one(source.figure(&MAPPED))),
    gauge("container_memory_swap", "Bytes of swap in use.", &[], |source| one(source.figure(&SWAP))),
    gauge("container_memory_kernel_usage", "Bytes of the kernel's memory.", &[], |source| one(source.figure(&KERNEL))),
    gauge("container_memory_usage_bytes", "Bytes of all memory in use.", &[], |source| one(source.figure(&USAGE))),
    gauge("container_memory_max_usage_bytes", "The most bytes that were in use.", &[], |source| {
        one(source.figure(&MAX_USAGE))
    }),
    gauge("container_memory_working_set_bytes", "Bytes of memory that cannot easily be given back.", &[], |source| {
        one(source.cgroup.stats().memory_working_set)
    }),
    counter("container_memory_failcnt", "How often the memory's limit was reached.", &[], |source| {
        one(source.figure(&LIMIT_HITS))
    }),
    counter("container_memory_failures_total", "Page faults.", &["failure_type", "scope"], failures),
    gauge("container_hugetlb_usage_bytes", "Bytes of huge pages in use.", &["pagesize"], |source| {
        source.huge_pages(["usage_in_bytes", "current"])
    }),
    // Version 2 does not measure it.
    gauge("container_hugetlb_max_usage_bytes", "The most bytes of huge pages in use.", &["pagesize"], |source| {
        source.huge_pages(["max_usage_in_bytes", "max_usage"])
    }),
    counter("container_oom_events_total", "Processes that were killed for want of memory.", &[], |source| {
        one(Some(source.cgroup.oom_kills()))
    }),
    gauge("container_processes", "Processes.", &[], |source| one(Some(source.processes().len() as u64))),
    gauge("container_threads", "Threads.", &[], |source| one(source.figure(&THREADS))),
    gauge("container_threads_max", "The most threads that are allowed; 0 for no limit.", &[], |source| {
        one(Some(source.figure(&THREADS_MAX).unwrap_or(0)))
    }),
    gauge("container_file_descriptors", "Open files.", &[], |source| one(Some(source.open_files().0))),
    gauge("container_sockets", "Open sockets.", &[], |source| one(Some(source.open_files().1))),
    gauge("container_ulimits_soft", "Soft limits of the first process.", &["ulimit"], |source| {
        let limit = source.open_files_limit();
        limit.map(|limit| (vec!["max_open_files".to_owned()], limit)).into_iter().collect()
    }),
    counter(
        "container_blkio_device_usage_total",
        "Bytes of disks.",
        &["device", "major", "minor", "operation"],
        device_usage,
    ),
    counter("container_fs_reads_bytes_total", "Bytes read from disks.", &["device"], |source| {
        per_device(disk_bytes(source), READ)
    }),
    counter("container_fs_writes_bytes_total", "Bytes written to disks.", &["device"], |source| {
        per_device(disk_bytes(source), WRITE)
    }),
    counter("container_fs_reads_total", "Reads from disks.", &["device"], |source| {
        per_device(disk_operations(source), READ)
    }),
    counter("container_fs_writes_total", "Writes to disks.", &["device"], |source| {
        per_device(disk_operations(source), WRITE)
    }),
    gauge("container_fs_usage_bytes", "Bytes that the container wrote to its root.", &["device"], |source| {
        let device = source.file_system().map(|(device, ..)| device);
        device.map(|device| (vec![device], source.layer().bytes)).into_iter().collect()
    }),
    gauge("container_fs_limit_bytes", "Bytes of the file system below the root.", &["device"], |source| {
        file_system(source, |bytes, _, _| bytes)
    }),
    gauge("container_fs_inodes_total", "Inodes of the file system below the root.", &["device"], |source| {
        file_system(source, |_, inodes, _| inodes)
    }),
    gauge("container_fs_inodes_free", "Free inodes of the file system below the root.", &["device"], |source| {
        file_system(source, |_, _, free| free)
    }),
    counter("container_pressure_cpu_waiting_seconds_total", "Time in which some waited for CPU.", &[], |source| {
        pressure(source, "cpu", false)
    }),
    counter("container_pressure_cpu_stalled_seconds_total", "Time in which all waited for CPU.", &[], |source| {
        pressure(source, "cpu", true)
    }),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which some waited for memory.",
        &[],
        |source| pressure(source, "memory", false),
    ),
    counter("container_pressure_memory_stalled_seconds_total", "Time in which all waited for memory.", &[], |source| {
        pressure(source, "memory", true)
    }),
    counter("container_pressure_io_waiting_seconds_total", "Time in which some waited for disks.", &[], |source| {
        pressure(source, "io", false)
    }),
    counter("container_pressure_io_stalled_seconds_total", "Time in which all waited for disks.", &[], |source| {
        pressure(source, "io", true)
    }),
    gauge("container_spec_cpu_period", "The CPU period, in microseconds.", &[], |source| {
        wanted(source.resources.cpu_period)
    }),
    gauge("container_spec_cpu_quota", "The CPU time of a period, in microseconds.", &[], |source| {
        wanted(source.resources.cpu_quota)
    }),
    gauge("container_spec_cpu_shares", "The share of CPU.", &[], |source| wanted(source.resources.cpu_shares)),
    gauge("container_spec_memory_limit_bytes", "The memory limit; 0 for none.", &[], |source| {
        wanted(source.resources.memory_limit_in_bytes)
    }),
    gauge("container_spec_memory_swap_limit_bytes", "The limit of memory and swap; 0 for none.", &[], |source| {
        wanted(source.resources.memory_swap_limit_in_bytes)
    }),
    gauge("container_spec_memory_reservation_limit_bytes", "The memory reservation; 0 for none.", &[], |_| wanted(0)),
    gauge("container_start_time_seconds", "When the container was started, in seconds since 1970.", &[], |source| {
        wanted(source.started_at.as_second())
    }),
    gauge("container_last_seen", "When these figures were read, in seconds since 1970.", &[], |source| {
        wanted(source.now.as_second())
    }),
];
