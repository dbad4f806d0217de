//! Conditions in CEL, compiled when the configuration is loaded (Common Expression Language).
//!
//! No comprehensions, so evaluation takes time proportional to the expression; its inputs are bounded by the limits
//! on tokens and bodies.

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, IdedExpr, Program, Value};

/// The longest expression: 1,000 characters.
const MAX_LENGTH: usize = 1000;

/// What an expression may speak of.
const VARIABLES: &[&str] = &["subject", "request", "body", "client_certificate"];

static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition.
pub struct Condition {
    source: Box<str>,
    program: Program,
    reads_body: bool,
    reads_query: bool,
    reads_certificate: bool,
}

/// The values a condition is evaluated over.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// `subject`: id, issuer, caller, client, roles, scopes, patient, level, methods, claims.
    pub subject: Value,
    /// `request`: method, host, path, parameters, query.
    pub request: Value,
    /// `body`: the parsed body, or null.
    pub body: Value,
    /// `client_certificate`: thumbprint, subject, dns, uris; an empty map where none was shown.
    pub client_certificate: Value,
    /// Whether a query parameter occurs more than once: then the query has no one value for it.
    pub query_is_ambiguous: bool,
    /// Whether there is a body that can't be read: what speaks of it fails, what does not is not touched by it.
    pub body_is_unreadable: bool,
}

impl Inputs {
    /// Converts plain data to CEL values. `body` is `None` where it can't be read.
    ///
    /// # Errors
    /// A value that CEL has no type for.
    pub fn new(
        subject: &serde_json::Value,
        request: &serde_json::Value,
        body: Option<&serde_json::Value>,
        query_is_ambiguous: bool,
    ) -> Result<Self, String> {
        let convert = |value: &serde_json::Value| cel::to_value(value).map_err(|error| error.to_string());
        Ok(Self {
            subject: convert(subject)?,
            request: convert(request)?,
            body: convert(body.unwrap_or(&serde_json::Value::Null))?,
            client_certificate: convert(&serde_json::Value::Object(serde_json::Map::new()))?,
            query_is_ambiguous,
            body_is_unreadable: body.is_none(),
        })
    }

    /// Adds the client's certificate, where one was shown.
    ///
    /// # Errors
    /// A value that CEL has no type for.
    pub fn with_certificate(mut self, certificate: Option<serde_json::Value>) -> Result<Self, String> {
        if let Some(certificate) = certificate {
            self.client_certificate = cel::to_value(&certificate).map_err(|error| error.to_string())?;
        }
        Ok(self)
    }
}

impl Condition {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in words for the author of the configuration.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression is longer than {MAX_LENGTH} characters"));
        }
        let program = Program::compile(source).map_err(|errors| {
            errors
                .errors
                .first()
                .map_or_else(|| "it is not a CEL expression".to_owned(), |error| error.msg.clone())
        })?;
        if has_comprehension(program.expression()) {
            return Err(
                "`all`, `exists`, `map` and `filter` are not available; use `in` to look into a list"
                    .to_owned(),
            );
        }
        let references = program.references();
        if let Some(unknown) = references.variables().iter().find(|name| !VARIABLES.contains(name)) {
            return Err(format!(
                "unknown name `{unknown}`; an expression may speak of `subject`, `request`, `body` and `client_certificate`"
            ));
        }
        let reads_body = references.has_variable("body");
        // The field can be reached in several spellings; a false alarm only makes a condition stricter.
        let reads_query = source.contains("query");
        let reads_certificate = references.has_variable("client_certificate");
        Ok(Self { source: source.into(), program, reads_body, reads_query, reads_certificate })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it needs the body.
    pub fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// Whether it speaks of the client's certificate.
    pub fn reads_certificate(&self) -> bool {
        self.reads_certificate
    }

    /// Evaluates the condition.
    ///
    /// # Errors
    /// The evaluation failed or gave something other than true or false; the text is for operators only and names
    /// no value of the request.
    pub fn holds(&self, inputs: &Inputs) -> Result<bool, String> {
        if self.reads_query && inputs.query_is_ambiguous {
            return Err("a query parameter occurs more than once".to_owned());
        }
        if self.reads_body && inputs.body_is_unreadable {
            return Err("the body can't be read".to_owned());
        }
        let mut context = Context::with_env(Arc::clone(&STANDARD));
        context.add_variable_from_value("subject", inputs.subject.clone());
        context.add_variable_from_value("request", inputs.request.clone());
        context.add_variable_from_value("body", inputs.body.clone());
        if self.reads_certificate {
            context.add_variable_from_value("client_certificate", inputs.client_certificate.clone());
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("the expression did not give true or false".to_owned()),
            Err(cel::ExecutionError::NoSuchKey(key)) => {
                Err(format!("there is no `{key}` here; test it with has() first"))
            }
            Err(cel::ExecutionError::UndeclaredReference(name)) => Err(format!("`{name}` does not exist")),
            Err(_) => {
                Err("the expression can't be evaluated on these values (a type does not fit)".to_owned())
            }
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Condition({:?})", self.source)
    }
}

fn has_comprehension(node: &IdedExpr) -> bool {
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => has_comprehension(&field.value),
        EntryExpr::MapEntry(pair) => has_comprehension(&pair.key) || has_comprehension(&pair.value),
    };
    match &node.expr {
        Expr::Comprehension(_) => true,
        Expr::Call(call) => {
            call.target.as_deref().is_some_and(has_comprehension) || call.args.iter().any(has_comprehension)
        }
        Expr::List(list) => list.elements.iter().any(has_comprehension),
        Expr::Map(map) => map.entries.iter().any(|item| entry(&item.expr)),
        Expr::Struct(structure) => structure.entries.iter().any(|item| entry(&item.expr)),
        Expr::Select(select) => has_comprehension(&select.operand),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(source: &str) -> Result<bool, String> {
        let subject = json!({"roles": ["prescriber"], "claims": {"npi": "123", "n": 3}});
        let inputs =
            Inputs::new(&subject, &json!({"query": {"a": "1"}}), Some(&json!({"amount": 150})), false)
                .expect("inputs");
        Condition::compile(source)?.holds(&inputs)
    }

    #[test]
    fn evaluates() {
        assert_eq!(holds("subject.claims.npi != ''"), Ok(true));
        assert_eq!(holds("'prescriber' in subject.roles && body.amount > 100"), Ok(true));
        assert_eq!(holds("has(subject.claims.missing)"), Ok(false));
        assert!(Condition::compile("body.x == 1").expect("compiles").reads_body());
    }

    #[test]
    fn errors_are_errors_never_false() {
        for source in [
            "subject.claims.missing == 'x'",
            "subject.claims.n + 'x' == 'y'",
            "1 + 1",
            "1 / 0 == 1",
            "subject.claims.npi",
        ] {
            assert!(holds(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_repeated_parameter_fails_what_reads_the_query() {
        let inputs = Inputs::new(&json!({"id": "a"}), &json!({"query": {}}), Some(&json!(null)), true)
            .expect("inputs");
        assert!(Condition::compile("has(request.query.x)").expect("compiles").holds(&inputs).is_err());
        assert!(Condition::compile("request['query'].x == ''").expect("compiles").holds(&inputs).is_err());
        assert_eq!(Condition::compile("subject.id == 'a'").expect("compiles").holds(&inputs), Ok(true));
    }

    #[test]
    fn an_unreadable_body_fails_what_reads_it_and_nothing_else() {
        let inputs = Inputs::new(&json!({"id": "a"}), &json!({}), None, false).expect("inputs");
        for source in ["body == null", "has(body.x)", "subject.id == 'a' || body.x == 1"] {
            assert!(Condition::compile(source).expect("compiles").holds(&inputs).is_err(), "{source}");
        }
        assert_eq!(Condition::compile("subject.id == 'a'").expect("compiles").holds(&inputs), Ok(true));
    }

    #[test]
    fn a_certificate_that_was_not_shown_has_no_names() {
        let inputs = || Inputs::new(&json!({}), &json!({}), Some(&json!(null)), false).expect("inputs");
        let condition = Condition::compile("'lab.example' in client_certificate.dns").expect("compiles");
        assert!(condition.reads_certificate());
        assert!(condition.holds(&inputs()).is_err());
        let has = Condition::compile("has(client_certificate.subject)").expect("compiles");
        assert_eq!(has.holds(&inputs()), Ok(false));
        let shown = inputs().with_certificate(Some(json!({"subject": "CN=lab", "dns": ["lab.example"]})));
        let shown = shown.expect("inputs");
        assert_eq!((condition.holds(&shown), has.holds(&shown)), (Ok(true), Ok(true)));
    }

    #[test]
    fn comprehensions_and_unknown_names_do_not_compile() {
        for source in [
            "subject.roles.all(r, r == 'x')",
            "[1].map(x, x)",
            "[subject.roles.exists(r, true)]",
            "user == 1",
            "a b",
            "",
            &"1+".repeat(600),
        ] {
            assert!(Condition::compile(source).is_err(), "{source}");
        }
    }
}
