//! What ps(1) shows of this process.

use std::ffi::CString;
use std::fs;
use std::io;

use super::{cvt, fault};

/// Longest name of a process, in bytes: TASK_COMM_LEN without its end.
const NAME_MAX: usize = 15;

/// Shows `title` in place of the command line, as far as there is room for it, and its beginning as the name of the
/// process. Whoever reads the arguments of this process afterwards, itself included, reads that.
pub fn set(title: &str) -> io::Result<()> {
    let text: Vec<u8> = title.bytes().filter(|&byte| byte != 0).collect();
    let name = CString::new(&text[..text.len().min(NAME_MAX)])?;
    fault::hit("prctl")?;
    // SAFETY: the name ends with NUL and is alive during the call.
    cvt(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })?;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name, which may hold anything; the first field behind it is the third one of proc_pid_stat(5).
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let field =
        |number: usize| fields.split_whitespace().nth(number - 3).and_then(|text| text.parse::<usize>().ok());
    let (Some(begin), Some(end)) = (field(48), field(49)) else { return Ok(()) };
    let room = end.saturating_sub(begin);
    if begin == 0 || room < 2 {
        return Ok(());
    }
    let length = text.len().min(room - 1);
    let place: *mut u8 = std::ptr::with_exposed_provenance_mut(begin);
    // SAFETY: the kernel has put the arguments there, on the writable stack above all frames, `room` bytes of them, and
    // they stay for as long as the process runs. No reference to them exists: the standard library copies them anew each
    // time that it is asked.
    unsafe {
        std::ptr::write_bytes(place, 0, room);
        std::ptr::copy_nonoverlapping(text.as_ptr(), place, length);
    }
    Ok(())
}
