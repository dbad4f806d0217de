//! Every diagnostic's code: its number never changes its meaning, so that it can be searched for and linked
//! to.

/// Whether a diagnostic refuses the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but somebody should look.
    Warning,
}

impl Severity {
    /// The word a diagnostic begins with.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Makes the enum and its three tables from one list, so that no code can lack a meaning.
macro_rules! codes {
    ($($number:literal $severity:ident $name:ident $meaning:literal;)*) => {
        /// What a diagnostic is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, such as `WG014`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// Whether it refuses the configuration.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// One line for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

codes! {
    // The text and its shape.
    "WG001" Error FileUnreadable "the file can't be read, is larger than 1 MiB, or is not UTF-8";
    "WG002" Error NotYaml "the text is not YAML, or uses a part of YAML that is not accepted";
    "WG003" Error UnknownKey "a key that does not exist at this place";
    "WG004" Error RepeatedKey "a key that occurs twice in one map";
    "WG005" Error WrongShape "a list, a map or a single value stands where another of them is expected";
    "WG006" Error MissingKey "a key that must be there is not";
    "WG007" Error Empty "a value, text or list is empty where something is needed";
    "WG008" Error UnsupportedVersion "the schema's version is not one that this program reads";
    // Values and names.
    "WG009" Error UnknownWord "a word that is none of the choices at this place";
    "WG010" Error BadQuantity "a duration, size or number that can't be read or is out of range";
    "WG011" Error BadName "a name with characters that names don't have";
    "WG012" Error RepeatedName "two things of one kind have the same name";
    "WG013" Error UnknownIssuer "a name that is no issuer's";
    "WG014" Error UnknownTier "a name that is no tier's";
    "WG015" Error UnknownUpstream "a name that is no upstream's";
    "WG016" Error UnknownLevel "a name that is no level of assurance";
    "WG017" Error UnknownDataClass "a name that is no data class";
    "WG018" Error UnknownStepUp "a name that is no way to step up";
    "WG019" Error UnknownRoute "a name that is no route's";
    // Listeners.
    "WG020" Error BadAddress "an address that is not `ip:port`, or no address or range of a proxy";
    "WG021" Error AddressInUse "two listeners would take the same address";
    "WG022" Warning BroadTrust "a whole range of peers is believed about who the client is";
    // Issuers.
    "WG030" Error BadUrl "not an absolute https URL without query, fragment and user information";
    "WG031" Error PlainHttp "an http:// URL of an issuer without leave in `insecure.plain_http_issuers`";
    "WG032" Warning PlainHttpAllowed "an issuer is spoken to over plain HTTP";
    "WG033" Warning AllowanceNotNeeded "an entry under `insecure` that nothing makes use of";
    "WG034" Error BadAlgorithm "a signature algorithm that is unknown or symmetric";
    "WG035" Error ConflictingKeySources "more than one source of keys for one issuer";
    "WG036" Error KeyLifetimes "key lifetimes that contradict each other";
    "WG037" Error SecondOpaqueIssuer "a second issuer with introspection: who would be asked about a token?";
    "WG038" Error AmbiguousWord "one `acr` or `amr` value stands for two levels at one issuer";
    "WG039" Error FileMissing "a file that the configuration names can't be read or is empty";
    // Tiers.
    "WG040" Error ProofWithoutAge "`each_action_needs_new_proof` without `max_age`";
    "WG041" Warning TierOrder "a tier asks for less than one before it";
    "WG042" Error NeedsSingleReplica "single-use proof while what is used up is known to one replica only";
    "WG043" Error BuiltInTiers "the built-in tiers ask for levels that are not configured";
    "WG044" Error KeyFileMalformed "a key file that holds no JWK set with usable keys";
    // Upstreams.
    "WG050" Error BadEndpoint "an endpoint that is neither `host:port` nor `unix:/path`";
    "WG052" Error BadHeader "a header that can't be injected or sent";
    "WG053" Error BadPlaceholder "an injected value that can't be filled in";
    "WG054" Warning UnqualifiedId "an injected subject id without its issuer where there are several issuers";
    // Routes.
    "WG060" Error BadPath "a path template that is malformed or that no request can match";
    "WG061" Error BadHost "a host that is not a plain name or address";
    "WG062" Error BadMethod "a method that can't be routed";
    "WG063" Warning UnusualMethod "a method that no registered one is spelled like";
    "WG064" Error AmbiguousRoutes "two routes that could both win for one request";
    "WG065" Error PublicRouteRule "a rule about the caller on a route that asks for none";
    "WG066" Error NoWayIn "a protected route or an entry of `any_of` that says nothing about who is allowed";
    "WG067" Error IssuerNotNamed "an entry of `any_of` that names no issuer where there is not exactly one";
    "WG068" Error BadPatientSource "a place to find the patient that does not exist";
    "WG069" Error ClaimNotMapped "a rule about a claim that the issuer's `claims` do not name";
    "WG070" Error SelfWithoutPatient "`patient: self` on a route that does not say which patient it is about";
    "WG071" Error BadCondition "a condition that does not compile";
    "WG072" Error BodyNeverPresent "a rule about the body on a route whose requests have none";
    "WG073" Error LowerRiskNotLower "the tier of `lower_risk_if_only` is not below the route's tier";
    "WG074" Warning RefineWithoutEffect "the tier of a `refine` rule is not above the route's tier";
    "WG075" Error NobodyCanPass "no issuer of a route can meet what its tier or data class asks for";
    "WG076" Warning RuleNeverPasses "one entry or `refine` rule asks for what its issuers can't meet";
    "WG077" Warning NoAcrToAskFor "a level has no `acr` value, so a challenge can't name it";
    "WG078" Error BadOrigin "an origin that is not exactly what browsers send";
    // The whole.
    "WG080" Warning Unused "something is configured that no route uses";
    "WG081" Warning NoRoutes "there is no route, so every request is refused";
    // Routes for people who have not signed in.
    "WG082" Error AnonymousRule "`anonymous` on a route where it can't hold";
    "WG083" Error BadHint "no place in a request at which it names an account";
    "WG084" Error AnonymousWay "a way to step up that needs a session, where nobody has signed in";
    "WG085" Warning PublicTier "a public route whose tier asks for what nobody is asked for there";
    "WG086" Error NoPagesHere "a step-up at a host that has no pages for it";
    // Cases.
    "WG090" Error BadCase "a policy test that can't be run as it is written";
    "WG091" Error CaseFailed "a policy test that comes out otherwise than expected";
    // TLS of listeners.
    "WG100" Error BadTlsFile "a certificate, key or authority file that holds something else";
    "WG101" Error KeyMismatch "a private key that is not the certificate's";
    "WG102" Warning CertificateDates "a certificate that has ended or has not begun";
    "WG103" Error TlsContradiction "TLS settings that contradict each other";
    "WG104" Warning RepeatedServerName "a server name for which two certificates are configured";
    "WG105" Warning CertificateNotAsked "a condition about client certificates where no listener asks for one";
    // Upstreams, continued.
    "WG110" Error RepeatedEndpoint "an endpoint that is listed twice";
    "WG111" Error BadCertificateFile "a file of certificates or a key that can't be used";
    "WG112" Error BadProtocol "a protocol that can't be spoken to an upstream under its other settings";
    "WG113" Error NotIdempotent "a method that must not be sent twice is to be sent again";
    "WG114" Error BadServerName "no name, or no usable one, to look for in an upstream's certificate";
    "WG115" Error HalfAnIdentity "a client certificate without its key, or the other way round";
    "WG116" Error AnyNameOfAnyAuthority "an upstream's name goes unchecked though anybody may vouch for it";
    "WG117" Error BadHealthCheck "a health check that can't be made";
    // Limits.
    "WG120" Error RateLimitWithoutEffect "a limit on the rate of requests that can never apply";
    "WG121" Error LimitsContradict "limits that contradict each other";
    "WG122" Error BadSocketPath "a path at which there can be no Unix socket";
    "WG123" Error NoPeerAddress "a trusted peer that this listener can't have";
    // Reloads.
    "WG130" Error NeedsRestart "a change that a running gateway can't make";
    "WG131" Error PartUnusable "what the configuration names can't be used by the running gateway";
    // How upstreams read paths.
    "WG140" Error MixedReadings "two paths that differ in capitals only, which only one of their upstreams sees";
    "WG141" Error PathNeverRead "a path that no request can have as the route's upstream reads it";
    "WG142" Error CapitalsNeverMatch "a condition with capitals about a path that is read in small letters";
    // What is told to others.
    "WG145" Error BadCollector "an address of a trace collector that is not an absolute http or https URL";
    "WG146" Error BadShare "a share of requests that is not a number from 0 to 1";
    // The state store.
    "WG150" Error StoreSettings "settings of another state store than the one that is chosen, or none of the chosen one";
    "WG151" Error BadStoreAddress "an address of Redis that is not `redis://host:port` or `rediss://host:port`";
    "WG152" Error StoreTopology "settings of Redis that contradict how its servers are arranged";
    "WG153" Error PlainRedis "Redis over the network without TLS and without leave in `insecure.plain_redis`";
    "WG154" Warning PlainRedisAllowed "Redis is spoken to without TLS";
    "WG155" Error NoEncryptionKeys "a store that others can read, without keys to seal what lies there";
    "WG156" Error BadEncryptionKey "a file that holds no key of 256 bits";
    "WG157" Warning NoReplicaConfirms "several servers of which one may take over without what the other has promised";
    "WG158" Warning SharedAndAlone "a store for several gateways where it is said that there is only one";
    // Signing in.
    "WG160" Error BadSignInOrigin "an origin at which nobody can sign in";
    "WG161" Error NobodyToSignIn "a sign-in at an issuer of services";
    "WG162" Error SessionLimits "limits of sessions that contradict each other";
    "WG163" Error ScopesWithoutOpenid "scopes of a sign-in without `openid`";
    "WG164" Error OwnPath "a route at a path that is the gateway's own";
    "WG165" Error BadBranding "a colour or picture that pages can't show";
    "WG166" Warning PagesWithoutSignIn "pages are described, and nobody signs in";
    "WG167" Error SessionsNotShared "sign-in with a store that other gateways don't share, and nothing says that there are none";
    "WG168" Error StepUpKey "a key at a way to step up that has no meaning there";
    "WG169" Error StepUpWithoutSignIn "a way to step up for browsers where nobody signs in with one";
    // Proof of possession, revocation.
    "WG170" Warning KeyProofForAnyHost "a route that takes key-bound tokens whatever host their proof was made for";
    "WG171" Error RoleEndsWithoutRoles "a claim that ends roles where no claim gives any";
    "WG172" Error NotAUnixSocket "operators can be listened to on a Unix socket only";
    // Those who are asked for proof.
    "WG173" Error BindingMessage "a message to a phone that does not name the page it belongs to";
    "WG174" Error BadStepUpAddress "an address of a step-up service that can't be used";
    "WG176" Error PagesNotApart "a host of the pages' own that is no such host";
    // Shared signals.
    "WG177" Error SignalDelivery "shared signals that are neither pushed nor fetched, or both";
    "WG178" Error SignalsNotShared "shared signals with a store that other gateways don't share, and nothing says that there are none";
    "WG179" Error BadAuthorization "a file that holds no value of an `Authorization` header";
    "WG180" Error SameStream "two streams of shared signals whose events can't be told apart";
    // Recognised browsers.
    "WG190" Error RecognisedDevice "browsers that would be recognised after too little, or by the next person at them";
    "WG191" Warning NoDeviceRecognised "a condition about recognised browsers where none is";
    // Delivery of the audit trail.
    "WG194" Error RemoteWithoutSink "a tier whose records must be on another machine, and no sink for that";
    "WG195" Error BadSinkAddress "an address that is no collector of audit records";
    "WG196" Error PlainSink "audit records over the network without TLS and without leave in `insecure.plain_audit_sinks`";
    "WG197" Warning PlainSinkAllowed "audit records go over the network without TLS";
    "WG198" Error SinkSettings "settings that this type of sink does not have, or a format that it does not carry";
    "WG199" Warning EpochsNotShared "pseudonyms that change at each gateway by itself";
    "WG200" Error KafkaNotBuilt "a sink on Kafka, and a program that was built without it";
    // FHIR services.
    "WG210" Error BadFhirService "a FHIR service whose base, upstream or host can't be one";
    "WG211" Error UnknownFhirService "a name that is no FHIR service's";
    "WG212" Error BadFhirMatch "an interaction, type or operation that FHIR does not have, or that can't occur there";
    "WG213" Error FhirRouteRule "a key at a FHIR route that has no meaning there";
    "WG214" Error BelowFhirBase "a route by path below the base of a FHIR service";
    "WG215" Error BadSharedType "a type to be shared with everybody that may speak of a patient";
    "WG216" Warning RepliesNotChecked "replies of a FHIR server that go to patients as they are";
    "WG217" Error NoReplyCheck "how replies are checked, where none are";
    "WG218" Error BadFhirBundles "Bundles of FHIR requests that are neither batches nor transactions, or none at all";
    // Fronts.
    "WG230" Error ExposedFront "a listener that takes other proxies' word, at an address that others reach too";
    "WG231" Error NotInThisMode "something that a listener of this mode can't do";
    "WG232" Error PeersUnproven "names of peers whose certificates nobody asks for";
    "WG233" Error PlainPeerSecret "a secret of a proxy that others could read on its way";
    "WG234" Error PeerSecretMalformed "a file that holds no secret of a proxy's";
    // Services that have a say in decisions.
    "WG250" Error UnknownPdp "a name that is no policy decision point's";
    "WG251" Error BadServiceAddress "an address of a service that no decision can depend on";
    "WG252" Error BadPatientLookup "a look-up of the patient that asks about nothing, or keys of one where there is none";
    "WG253" Error UnknownConsent "a name that is no consent service's";
    "WG254" Error ConsentWithoutPatient "a route that asks for a patient's consent and does not say which patient it is about";
    "WG255" Error BadDuties "a separation of duties that could not be kept";
    "WG256" Error DutiesNotShared "a separation of duties that a second gateway would not know of";
    // Breaking the glass.
    "WG270" Error BreakGlassRight "a right to break the glass that nobody could have";
    "WG271" Error UnknownBreakGlass "a name that is no right to break the glass";
    "WG272" Error BreakGlassRoute "a right to break the glass on a route where it can't hold";
    "WG273" Error BreakGlassNotShared "rights to break the glass with a store that other gateways don't share, and nothing says that there are none";
    "WG274" Warning BreakGlassDrill "a right to break the glass that is a drill";
    // Delegation.
    "WG280" Error DelegationRelation "a relation in which nobody could act for a patient";
    "WG281" Error UnknownRelation "a name that is no relation";
    "WG282" Error DelegationRule "a rule for people who act for patients that could never hold";
    "WG283" Error DelegationNotShared "delegation with a store that other gateways don't share, and nothing says that there are none";
    // Candidates.
    "WG285" Warning CandidateIsSame "a tier that is tried out and is the route's own";
    // Signals.
    "WG290" Error BadSignal "a signal that watches for nothing, or for too much, or does nothing";
    "WG291" Error SignalNotShared "an enforced signal that counts, with a store that other gateways don't share, and nothing says that there are none";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_meanings_are_lines() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
        for code in Code::ALL {
            assert!(code.name().len() == 5 && code.name().starts_with("WG"), "{code:?}");
            assert!(!code.meaning().contains('\n') && !code.meaning().ends_with('.'), "{code:?}");
        }
    }
}
