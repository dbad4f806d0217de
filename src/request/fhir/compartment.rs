//! The patient compartment of FHIR R4: which resources are somebody's record, and by which search parameters they say
//! whose (CompartmentDefinition `http://hl7.org/fhir/CompartmentDefinition/patient`, 4.0.1).

use super::{Version, r5};

/// A type, the parameters by which the definition has it in the compartment, and those that find a part of the same by
/// the patient alone.
pub const PATIENT: [(&str, &[&str], &[&str]); 66] = [
    ("Account", &["subject"], &["patient"]),
    ("AdverseEvent", &["subject"], &[]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"], &[]),
    ("Appointment", &["actor"], &["patient"]),
    ("AppointmentResponse", &["actor"], &["patient"]),
    ("AuditEvent", &["patient"], &[]),
    ("Basic", &["patient", "author"], &[]),
    ("BodyStructure", &["patient"], &[]),
    ("CarePlan", &["patient", "performer"], &[]),
    ("CareTeam", &["patient", "participant"], &[]),
    ("ChargeItem", &["subject"], &["patient"]),
    ("Claim", &["patient", "payee"], &[]),
    ("ClaimResponse", &["patient"], &[]),
    ("ClinicalImpression", &["subject"], &["patient"]),
    ("Communication", &["subject", "sender", "recipient"], &["patient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"], &["patient"]),
    ("Composition", &["subject", "author", "attester"], &["patient"]),
    ("Condition", &["patient", "asserter"], &[]),
    ("Consent", &["patient"], &[]),
    ("Coverage", &["policy-holder", "subscriber", "beneficiary", "payor"], &["patient"]),
    ("CoverageEligibilityRequest", &["patient"], &[]),
    ("CoverageEligibilityResponse", &["patient"], &[]),
    ("DetectedIssue", &["patient"], &[]),
    ("DeviceRequest", &["subject", "performer"], &["patient"]),
    ("DeviceUseStatement", &["subject"], &["patient"]),
    ("DiagnosticReport", &["subject"], &["patient"]),
    ("DocumentManifest", &["subject", "author", "recipient"], &["patient"]),
    ("DocumentReference", &["subject", "author"], &["patient"]),
    ("Encounter", &["subject"], &["patient"]),
    ("EnrollmentRequest", &["subject"], &["patient"]),
    ("EpisodeOfCare", &["patient"], &[]),
    ("ExplanationOfBenefit", &["patient", "payee"], &[]),
    ("FamilyMemberHistory", &["patient"], &[]),
    ("Flag", &["patient"], &[]),
    ("Goal", &["patient"], &[]),
    ("Group", &["member"], &[]),
    ("ImagingStudy", &["patient"], &[]),
    ("Immunization", &["patient"], &[]),
    ("ImmunizationEvaluation", &["patient"], &[]),
    ("ImmunizationRecommendation", &["patient"], &[]),
    ("Invoice", &["subject", "patient", "recipient"], &[]),
    ("List", &["subject", "source"], &["patient"]),
    ("MeasureReport", &["patient"], &[]),
    ("Media", &["subject"], &["patient"]),
    ("MedicationAdministration", &["patient", "performer", "subject"], &[]),
    ("MedicationDispense", &["subject", "patient", "receiver"], &[]),
    ("MedicationRequest", &["subject"], &["patient"]),
    ("MedicationStatement", &["subject"], &["patient"]),
    ("MolecularSequence", &["patient"], &[]),
    ("NutritionOrder", &["patient"], &[]),
    ("Observation", &["subject", "performer"], &["patient"]),
    ("Person", &["patient"], &[]),
    ("Procedure", &["patient", "performer"], &[]),
    ("Provenance", &["patient"], &[]),
    ("QuestionnaireResponse", &["subject", "author"], &["patient"]),
    ("RelatedPerson", &["patient"], &[]),
    ("RequestGroup", &["subject", "participant"], &["patient"]),
    ("ResearchSubject", &["individual"], &["patient"]),
    ("RiskAssessment", &["subject"], &["patient"]),
    ("Schedule", &["actor"], &[]),
    ("ServiceRequest", &["subject", "performer"], &["patient"]),
    ("Specimen", &["subject"], &["patient"]),
    ("SupplyDelivery", &["patient"], &[]),
    ("SupplyRequest", &["subject"], &[]),
    ("Task", &["patient", "focus"], &[]),
    ("VisionPrescription", &["patient"], &[]),
];

/// The parameters that name the patient in searches for a type; `None` where the type is nobody's record.
///
/// A patient is found by `_id`: `link`, which the definition names, leads to records of others.
pub fn parameters(version: Version, resource_type: &str) -> Option<impl Iterator<Item = &'static str>> {
    const ITSELF: (&[&str], &[&str]) = (&["_id"], &[]);
    let (defined, narrower) = if resource_type == "Patient" {
        ITSELF
    } else {
        let table = match version {
            Version::R4 => &PATIENT[..],
            Version::R5 => &r5::PATIENT,
        };
        let at = table.binary_search_by_key(&resource_type, |(name, ..)| name).ok()?;
        table.get(at).map(|(_, defined, narrower)| (*defined, *narrower))?
    };
    Some(defined.iter().chain(narrower).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_the_alphabet() {
        assert!(
            PATIENT.is_sorted_by_key(|(name, ..)| *name) && r5::PATIENT.is_sorted_by_key(|(name, ..)| *name)
        );
        let of = |name| parameters(Version::R4, name).map(|found| found.collect::<Vec<_>>());
        assert_eq!(of("Observation"), Some(vec!["subject", "performer", "patient"]));
        assert_eq!(of("Patient"), Some(vec!["_id"]));
        assert_eq!(of("Practitioner"), None);
        let newer = |name| parameters(Version::R5, name).map(|found| found.collect::<Vec<_>>());
        assert_eq!(
            (of("Consent"), newer("Consent")),
            (Some(vec!["patient"]), Some(vec!["subject", "patient"]))
        );
        assert_eq!((newer("Patient"), newer("Media")), (Some(vec!["_id"]), None));
    }
}
