//! The interactions of FHIR's RESTful API, by the names of its `CapabilityStatement`.

use http::Method;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interaction {
    /// One resource as it is.
    Read,
    /// One resource as it was.
    Vread,
    /// A resource is replaced, or made under an id of the client's choice.
    Update,
    /// A part of a resource is changed.
    Patch,
    /// A resource is deleted.
    Delete,
    /// A resource is made.
    Create,
    /// A search in one type.
    SearchType,
    /// A search in all types, or in those of `_type`.
    SearchSystem,
    /// A search in a compartment.
    SearchCompartment,
    /// The versions of one resource.
    HistoryInstance,
    /// The versions of all resources of a type.
    HistoryType,
    /// The versions of all resources.
    HistorySystem,
    /// An operation, by its name.
    Operation,
    /// Several requests in one, one by one or all or none.
    Bundle,
    /// What the server can do.
    Capabilities,
    /// How clients get tokens for it (SMART App Launch 2.2 §3.1).
    SmartConfiguration,
}

impl Interaction {
    /// Those that routes name, with their names.
    pub const NAMED: [(&'static str, Self); 12] = [
        ("read", Self::Read),
        ("vread", Self::Vread),
        ("update", Self::Update),
        ("patch", Self::Patch),
        ("delete", Self::Delete),
        ("create", Self::Create),
        ("search-type", Self::SearchType),
        ("search-system", Self::SearchSystem),
        ("search-compartment", Self::SearchCompartment),
        ("history-instance", Self::HistoryInstance),
        ("history-type", Self::HistoryType),
        ("history-system", Self::HistorySystem),
    ];

    /// Whether it is about the whole server, so that no type could tell two of it apart.
    pub const fn is_of_system(self) -> bool {
        matches!(
            self,
            Self::SearchSystem
                | Self::HistorySystem
                | Self::Bundle
                | Self::Capabilities
                | Self::SmartConfiguration
        )
    }

    /// Whether it looks for resources by parameters, which may stand in a form.
    pub const fn is_search(self) -> bool {
        matches!(self, Self::SearchType | Self::SearchSystem | Self::SearchCompartment)
    }

    /// The methods by which it is asked for.
    pub const fn methods(self) -> &'static [Method] {
        match self {
            Self::Read
            | Self::Vread
            | Self::HistoryInstance
            | Self::HistoryType
            | Self::HistorySystem
            | Self::Capabilities
            | Self::SmartConfiguration => &[Method::GET, Method::HEAD],
            Self::SearchType | Self::SearchSystem | Self::SearchCompartment | Self::Operation => {
                &[Method::GET, Method::HEAD, Method::POST]
            }
            Self::Update => &[Method::PUT],
            Self::Patch => &[Method::PATCH],
            Self::Delete => &[Method::DELETE],
            Self::Create | Self::Bundle => &[Method::POST],
        }
    }
}
