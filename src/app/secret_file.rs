//! Secrets that the gateway makes for itself on first start.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes a secret of 256 bits and writes it to a file that only the gateway's user may read; gives its text, in
/// hexadecimal digits.
///
/// # Errors
/// There is no randomness, or the file can't be written.
pub fn make(path: &Path) -> io::Result<String> {
    let mut secret = [0u8; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("the system gives no randomness"))?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // Under another name first: half a key would be there for good.
    let unfinished = path.with_extension("unfinished");
    let mut file =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(text)
}

/// Makes a directory that only the gateway's user may look into, where it is missing.
///
/// # Errors
/// It can't be made.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
