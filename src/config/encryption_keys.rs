//! Files with a key of 256 bits, as `openssl rand -hex 32` or `-base64 32` makes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key in a file's bytes: 64 hexadecimal digits, or 44 letters of base64, on one line.
pub fn parse(bytes: &[u8]) -> Option<[u8; 32]> {
    let text = bytes.trim_ascii();
    if text.len() == 64 {
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
            let digits =
                std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        return Some(key);
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_key() {
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).expect("small"));
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parse(format!("{hex}\n").as_bytes()), Some(key));
        assert_eq!(parse(hex.to_uppercase().as_bytes()), Some(key));
        assert_eq!(parse(format!("{}\n", STANDARD.encode(key)).as_bytes()), Some(key));
    }

    #[test]
    fn anything_else_is_no_key() {
        let short = STANDARD.encode([1; 31]);
        for text in
            ["", "secret", &short, &"0".repeat(63), &"g".repeat(64), &"+f".repeat(32), &"0".repeat(66)]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
