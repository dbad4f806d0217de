//! The shape of what says who may act for patients.

use serde_saphyr::Spanned;

use super::schema::{Entries, Text, Texts, maps};

maps! {
    /// People who act for patients.
    Delegation { by: Spanned<Grantors>, relations: Entries<Spanned<Relation>>, never: Texts, }
    /// Who grants and reviews.
    Grantors { issuer: Text, roles: Texts, assurance: Text, }
    /// In what relation.
    Relation { issuer: Text, review_every: Text, lasts: Text, until_age: Text, actions: Texts, }
}
