//! The shape of what says who may break the glass.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// A right to break the glass.
    BreakGlass {
        issuer: Text,
        roles: Texts,
        overrides: Texts,
        access: Text,
        require: Spanned<GlassRequire>,
        grant: Spanned<GlassGrant>,
        review: Spanned<GlassReview>,
        drill: Spanned<bool>,
    }
    /// What must be shown and given first.
    GlassRequire { assurance: Text, max_age: Text, reason_codes: Texts, text_min: Text, offline_codes: Spanned<bool>, }
    /// What that gives.
    GlassGrant { ttl: Text, most_per_day: Text, }
    /// Who looks at it afterwards.
    GlassReview { within: Text, by: Texts, }
}
