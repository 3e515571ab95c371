//! What the agent itself uses, from `/proc/self`.

use procfs::process::Process;

/// Resources of the agent's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessStats {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Start, seconds since the epoch.
    pub start_seconds: f64,
}

impl ProcessStats {
    /// As of now; `None` if `/proc` doesn't say.
    #[allow(clippy::cast_precision_loss)] // Clock ticks stay far below 2^53.
    pub fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: stat.rss * procfs::page_size(),
            open_fds: process.fd_count().ok()? as u64,
            start_seconds: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ProcessStats;

    #[test]
    fn this_process_is_read() {
        let stats = ProcessStats::read().unwrap();
        assert!(stats.resident_bytes > 100_000 && stats.open_fds >= 3, "{stats:?}");
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        assert!(
            stats.start_seconds <= now + 2.0 && stats.start_seconds > now - 3600.0 * 24.0,
            "{stats:?} at {now}"
        );
    }
}
