//! Where a resource of FHIR R4 says whose record it is: the elements behind the search parameters of the patient
//! compartment (`SearchParameter.expression`, 4.0.1).

use super::{Version, r5};

/// A type, and the paths of the elements that put it into a patient's compartment. The first of them says what the
/// resource is about; the others name people who have to do with it.
pub const ELEMENTS: [(&str, &[&str]); 66] = [
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["participant.actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["agent.who", "entity.what"]),
    ("Basic", &["subject", "author"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["subject", "activity.detail.performer"]),
    ("CareTeam", &["subject", "participant.member"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee.party"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester.party"]),
    ("Condition", &["subject", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["beneficiary", "policyHolder", "subscriber", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["subject"]),
    ("EnrollmentRequest", &["candidate"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee.party"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["subject"]),
    ("Goal", &["subject"]),
    ("Group", &["member.entity"]),
    ("ImagingStudy", &["subject"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["subject"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["subject", "performer.actor"]),
    ("MedicationDispense", &["subject", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Person", &["link.target"]),
    ("Procedure", &["subject", "performer.actor"]),
    ("Provenance", &["target"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "action.participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["deliverTo"]),
    ("Task", &["for", "focus"]),
    ("VisionPrescription", &["patient"]),
];

/// The types that no patient is named by, in any element (`StructureDefinition`s of 4.0.1): what a service may share
/// with everybody.
const OF_NOBODY: [&str; 27] = [
    "CapabilityStatement",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "Endpoint",
    "GraphDefinition",
    "HealthcareService",
    "InsurancePlan",
    "Location",
    "Medication",
    "MedicationKnowledge",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
    "SearchParameter",
    "Slot",
    "SpecimenDefinition",
    "StructureDefinition",
    "Substance",
    "TerminologyCapabilities",
    "ValueSet",
];

/// The paths of a type; `None` where it is nobody's record.
pub fn of(version: Version, resource_type: &str) -> Option<&'static [&'static str]> {
    let table = match version {
        Version::R4 => &ELEMENTS[..],
        Version::R5 => &r5::ELEMENTS,
    };
    let at = table.binary_search_by_key(&resource_type, |(name, _)| name).ok()?;
    table.get(at).map(|(_, paths)| *paths)
}

/// What a service of this version may share with everybody.
pub fn of_nobody(version: Version) -> impl Iterator<Item = &'static str> {
    // In R5 one of them may be about a group of patients.
    OF_NOBODY.into_iter().filter(move |name| version == Version::R4 || *name != "SpecimenDefinition")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_the_alphabet() {
        assert!(ELEMENTS.is_sorted_by_key(|(name, _)| *name) && OF_NOBODY.is_sorted());
        assert!(r5::ELEMENTS.is_sorted_by_key(|(name, _)| *name));
        for version in [Version::R4, Version::R5] {
            assert_eq!(of(version, "Observation"), Some(&["subject", "performer"][..]));
            assert_eq!(of(version, "Practitioner"), None);
            assert!(of_nobody(version).all(|name| of(version, name).is_none()));
        }
        assert_eq!(of(Version::R5, "DeviceRequest"), Some(&["subject", "performer.reference"][..]));
    }
}
