//! Faults on request, for tests: `FAULT=fork:2:EAGAIN,dup2:1:EMFILE` makes the second fork and the first dup2 fail.
//!
//! Calls are counted over this process and all that it forks, so that each fault happens once wherever the call is
//! made. What happened is told on descriptor 2 (`fault: fork:2:EAGAIN`): a test that raises the number until nothing is
//! told has been at every place. Without the feature `fault` nothing of this is compiled.

/// Asks whether the call of this name is to fail. In a forked child it neither allocates nor locks: the table was made
/// by the first call in the parent.
#[cfg(not(feature = "fault"))]
#[inline(always)]
pub fn hit(_call: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "fault")]
pub use on_request::hit;

#[cfg(feature = "fault")]
mod on_request {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::errno::Errno;

    /// One entry of `FAULT`.
    #[derive(Debug, PartialEq)]
    pub(super) struct Fault {
        pub(super) call: String,
        pub(super) count: u32,
        pub(super) errno: i32,
        message: String,
    }

    struct Table {
        faults: Vec<Fault>,
        /// How often the call of each fault was made; shared with forked children.
        counters: &'static [AtomicU32],
    }

    static TABLE: OnceLock<Table> = OnceLock::new();

    /// Asks whether the call of this name is to fail. In a forked child it neither allocates nor locks: the table was
    /// made by the first call in the parent.
    pub fn hit(call: &'static str) -> io::Result<()> {
        let table = TABLE.get_or_init(Table::from_environment);
        for (fault, counter) in table.faults.iter().zip(table.counters) {
            if fault.call == call && counter.fetch_add(1, Ordering::Relaxed) + 1 == fault.count {
                // SAFETY: the buffer is as long as told.
                unsafe { libc::write(2, fault.message.as_ptr().cast(), fault.message.len()) };
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
        }
        Ok(())
    }

    impl Table {
        fn from_environment() -> Table {
            let text = std::env::var("FAULT").unwrap_or_default();
            let faults = match parse(&text) {
                Ok(faults) => faults,
                Err(entry) => panic!("FAULT: {entry:?} is not CALL:COUNT:ERRNO"),
            };
            let counters = shared_counters(faults.len());
            Table { faults, counters }
        }
    }

    pub(super) fn parse(text: &str) -> Result<Vec<Fault>, String> {
        let fault = |entry: &str| {
            let mut parts = entry.splitn(3, ':');
            let (call, count, name) = (parts.next()?, parts.next()?, parts.next()?);
            // The names of errno stand in the `Debug` of nix's enum; the numbers of Linux end below 134.
            let errno = (1..134).find(|&errno| format!("{:?}", Errno::from_raw(errno)) == name)?;
            let count = count.parse().ok().filter(|&count| count > 0)?;
            Some(Fault { call: call.to_owned(), count, errno, message: format!("fault: {entry}\n") })
        };
        text.split(',')
            .filter(|entry| !entry.is_empty())
            .map(|entry| fault(entry).ok_or_else(|| entry.to_owned()))
            .collect()
    }

    fn shared_counters(count: usize) -> &'static [AtomicU32] {
        if count == 0 {
            return &[];
        }
        let length = count * size_of::<AtomicU32>();
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at no address in particular, with no file behind it.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        assert!(page != libc::MAP_FAILED, "FAULT: no memory for {count} counters");
        // SAFETY: the mapping is that long, aligned to a page, zeroed, and never unmapped.
        unsafe { std::slice::from_raw_parts(page.cast::<AtomicU32>(), count) }
    }
}

#[cfg(all(test, feature = "fault"))]
mod tests {
    use super::on_request::parse;

    #[test]
    fn a_table_names_call_count_and_errno() {
        let faults = parse("fork:2:EAGAIN,dup2:1:EMFILE").unwrap();
        let told: Vec<_> =
            faults.iter().map(|fault| (fault.call.as_str(), fault.count, fault.errno)).collect();
        assert_eq!(told, [("fork", 2, libc::EAGAIN), ("dup2", 1, libc::EMFILE)]);
        assert_eq!(parse("").unwrap(), []);
        for bad in ["fork", "fork:0:EAGAIN", "fork:x:EAGAIN", "fork:1:EWHAT"] {
            assert_eq!(parse(bad).unwrap_err(), bad);
        }
    }
}
