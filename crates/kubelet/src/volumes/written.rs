//! What is written down beside a volume, so that it is known after the kubelet or the machine has ended.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file in a directory, which is made if it is not there: as a whole, and on the disk when this returns.
pub fn write_down(dir: &Path, file: &str, text: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let draft = dir.join(format!(".{file}"));
    let mut written = File::create(&draft)?;
    written.write_all(text)?;
    written.sync_all()?;
    fs::rename(draft, dir.join(file))?;
    File::open(dir)?.sync_all()
}
