//! Files that issuers need: keys and secrets, small and read once at start.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::{Owner, StartError};
use super::http::MAX_ANSWER_BYTES;

/// What the file with our secret at an issuer is called.
pub const CLIENT_SECRET: &str = "client secret";

/// Reads a whole file; `what` names it in errors.
///
/// # Errors
/// It can't be read, or is larger than such a file ever is.
pub fn read(what: &'static str, whose: &Owner, path: &Path) -> Result<Vec<u8>, StartError> {
    let unreadable = |why| StartError::Unreadable { what, whose: whose.clone(), path: path.into(), why };
    let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(StartError::FileTooLarge { what, whose: whose.clone(), path: path.into() });
    }
    Ok(bytes)
}

/// Reads a secret, called `what` in errors: the file's text without white space around it, since editors end files with a line break.
///
/// # Errors
/// As [`read`], or there is nothing in it, or it is not UTF-8.
pub fn read_secret(what: &'static str, whose: &Owner, path: &Path) -> Result<String, StartError> {
    let text = String::from_utf8(read(what, whose, path)?).map_err(|_| StartError::Unreadable {
        what,
        whose: whose.clone(),
        path: path.into(),
        why: std::io::ErrorKind::InvalidData.into(),
    })?;
    match text.trim() {
        "" => Err(StartError::EmptySecret { what, whose: whose.clone(), path: path.into() }),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_text_without_its_line_break() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("secret");
        let read_back = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("write");
            read_secret(CLIENT_SECRET, &Owner::issuer("people"), &path).map_err(|error| error.to_string())
        };
        assert_eq!(read_back(b"s3cret \xc3\xa9\r\n"), Ok("s3cret é".into()));
        assert!(read_back(b"\n").is_err_and(|text| text.contains("is empty")));
        assert!(read_back(b"\xff").is_err());
        assert!(read_back(&[b'a'; MAX_ANSWER_BYTES + 1]).is_err_and(|text| text.contains("512 KiB")));
    }

    #[test]
    fn an_error_names_the_file_and_the_remedy() {
        let text = read("key", &Owner::issuer("people"), Path::new("/no/such/file"))
            .expect_err("missing")
            .to_string();
        assert!(
            text.contains("issuer `people`")
                && text.contains("`/no/such/file`")
                && text.contains("check the path"),
            "{text}"
        );
        let service = Owner::service("https://proofing.test/v1");
        let text = read("secret", &service, Path::new("/no/such/file")).expect_err("missing").to_string();
        assert!(
            text.contains("of the step-up service `https://proofing.test/v1`") && !text.contains("issuer"),
            "{text}"
        );
    }
}
