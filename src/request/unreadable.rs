//! The closed list of reasons why a request can't be read in one way only.

/// Why a request is refused before anything is decided about it. Each becomes status 400 (or 431 for size).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unreadable {
    /// The target is not in origin-form: it does not begin with `/` (RFC 9112 §3.2.1).
    NotOriginForm,
    /// `.` or `..` as a path segment, plain or encoded.
    DotSegment,
    /// `//`: some servers fold empty segments, some do not.
    EmptySegment,
    /// An encoded `/`, `\`, `?`, `#`, `;` or `%`: a second decoding would change the path.
    EncodedDelimiter,
    /// A percent-encoded letter, digit or `-._~`, which RFC 3986 §6.2.2.2 calls equivalent to the plain one.
    EncodedUnreserved,
    /// A `%` that two hex digits do not follow.
    BadPercentEncoding,
    /// A backslash, which Windows servers read as `/`.
    Backslash,
    /// A `;` path parameter, which Java servers drop before matching.
    PathParameter,
    /// A `#`, which no client sends and which some servers cut at.
    Fragment,
    /// A control character, plain or encoded.
    ControlCharacter,
    /// A byte that RFC 3986 does not allow unencoded.
    ForbiddenCharacter,
    /// Encoded bytes that are not UTF-8 (overlong forms included).
    NotUtf8,
    /// A character that Unicode compatibility folding (NFKC) would change, such as a full-width dot.
    FoldableCharacter,
    /// Upstreams that read paths in different ways could both be meant, or text could be in two encodings.
    AmbiguousReading,
    /// More than 64 path segments.
    TooManySegments,
    /// No `Host` at all.
    MissingHost,
    /// More than one `Host`.
    DuplicateHost,
    /// A `Host` that is not a plain name or address with an optional port.
    BadHost,
    /// A line that ends in LF without CR.
    BareLineFeed,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1).
    LengthAndTransferEncoding,
    /// More than one `Content-Length`, or one that is not a plain decimal number.
    BadContentLength,
    /// A `Transfer-Encoding` other than a single `chunked`.
    BadTransferEncoding,
    /// A header name with `_` or another character that CGI-style servers fold into another name.
    BadHeaderName,
    /// A header value with a control character.
    BadHeaderValue,
    /// A `Connection` header with more than eight options, or with something that is no header's name.
    BadConnection,
    /// A `Connection` header that names a header which must reach the other end.
    ConnectionNamesEndToEnd,
    /// A header of HTTP/1 connections in an HTTP/2 request (RFC 9113 §8.2.2).
    ConnectionHeader,
    /// A method that is not written in upper-case letters, or `TRACE` or `CONNECT`.
    BadMethod,
    /// An upgrade to something other than `websocket`, or a malformed one.
    BadUpgrade,
    /// A header that may come once came several times.
    DuplicateHeader,
    /// A header that overrides the method or the path, or a `_method` parameter.
    MethodOverride,
    /// More header bytes than the listener allows.
    HeadersTooLarge,
    /// More headers than the listener allows.
    TooManyHeaders,
    /// The HTTP parser itself gave up before a request existed.
    Unparsed,
}

impl Unreadable {
    /// The stable name used in audit records, metrics and traces.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotOriginForm => "target_not_origin_form",
            Self::DotSegment => "path_dot_segment",
            Self::EmptySegment => "path_empty_segment",
            Self::EncodedDelimiter => "path_encoded_delimiter",
            Self::EncodedUnreserved => "path_encoded_unreserved",
            Self::BadPercentEncoding => "bad_percent_encoding",
            Self::Backslash => "path_backslash",
            Self::PathParameter => "path_parameter",
            Self::Fragment => "target_fragment",
            Self::ControlCharacter => "control_character",
            Self::ForbiddenCharacter => "forbidden_character",
            Self::NotUtf8 => "not_utf8",
            Self::FoldableCharacter => "foldable_character",
            Self::AmbiguousReading => "path_ambiguous_reading",
            Self::TooManySegments => "too_many_segments",
            Self::MissingHost => "host_missing",
            Self::DuplicateHost => "host_duplicate",
            Self::BadHost => "host_malformed",
            Self::BareLineFeed => "bare_line_feed",
            Self::LengthAndTransferEncoding => "length_and_transfer_encoding",
            Self::BadContentLength => "bad_content_length",
            Self::BadTransferEncoding => "bad_transfer_encoding",
            Self::BadHeaderName => "bad_header_name",
            Self::BadHeaderValue => "bad_header_value",
            Self::BadConnection => "bad_connection",
            Self::ConnectionNamesEndToEnd => "connection_names_end_to_end",
            Self::ConnectionHeader => "connection_header",
            Self::BadMethod => "bad_method",
            Self::BadUpgrade => "bad_upgrade",
            Self::DuplicateHeader => "duplicate_header",
            Self::MethodOverride => "method_override",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::Unparsed => "unparsed",
        }
    }

    /// The outward status: 431 for size (RFC 6585 §5), else 400.
    pub const fn status(self) -> u16 {
        match self {
            Self::HeadersTooLarge | Self::TooManyHeaders => 431,
            _ => 400,
        }
    }
}
