//! Which language a browser asks for (RFC 9110 §12.5.4).

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Spanish,
}

impl Language {
    /// The one that is liked best among those there are; English where none is.
    pub fn of(accepts: Option<&str>) -> Self {
        let mut best = (Self::English, 0_u16);
        for range in accepts.unwrap_or_default().split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let primary = parts.next().unwrap_or_default().split('-').next().unwrap_or_default();
            let language = match primary {
                primary if primary.eq_ignore_ascii_case("en") => Self::English,
                primary if primary.eq_ignore_ascii_case("es") => Self::Spanish,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1_000, thousandths);
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    /// Its tag (RFC 5646).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
        }
    }
}

/// A weight such as `0.8`; what can't be read weighs nothing.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded on the line itself"
        )]
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1_000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_liked_best_is_spoken() {
        for (accepts, tag) in [
            ("es", "es"),
            ("es-MX,es;q=0.9,en;q=0.8", "es"),
            ("en-US,en;q=0.9,es;q=0.8", "en"),
            ("de,es;q=0.5,en;q=0.7", "en"),
            ("de,fr;q=0.9", "en"),
            ("ES-419 ; q=0.3", "es"),
            ("es;q=0", "en"),
            ("es;q=x, en;q=2", "en"),
            ("", "en"),
        ] {
            assert_eq!(Language::of(Some(accepts)).tag(), tag, "{accepts}");
        }
    }
}
