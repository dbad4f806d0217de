//! Requests that come within another one's body.

use http::Method;

use super::Facts;
use super::body::BodyShape;
use super::names::names_method;
use super::target::Target;

impl Facts {
    /// What such a request asks: from the same caller, on the same host.
    pub fn within(
        &self,
        method: Method,
        target: Target,
        body: BodyShape,
        if_none_exist: Option<&str>,
    ) -> Self {
        let method_override =
            !target.query().is_empty() && target.query_names().any(|name| names_method(&name));
        Self {
            method,
            target,
            body,
            if_none_exist: if_none_exist.map(Into::into),
            has_provenance: false,
            method_override,
            websocket: false,
            preflight: None,
            ..self.clone()
        }
    }
}
