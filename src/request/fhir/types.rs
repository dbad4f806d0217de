//! The resource types of each version of FHIR, as its specification lists them.

use std::sync::LazyLock;

use foldhash::{HashSet, HashSetExt as _};

use super::Version;

/// FHIR R4 (4.0.1).
const R4: &str = "\
    Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic \
    Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry \
    ChargeItem ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication \
    CommunicationRequest CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage \
    CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric \
    DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis \
    Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable \
    ExampleScenario ExplanationOfBenefit FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse \
    HealthcareService ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation \
    ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure MeasureReport Media Medication \
    MedicationAdministration MedicationDispense MedicationKnowledge MedicationRequest MedicationStatement \
    MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication MedicinalProductIndication \
    MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged \
    MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition MessageHeader \
    MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition \
    OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice PaymentReconciliation \
    Person PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse \
    RelatedPerson RequestGroup ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject \
    RiskAssessment RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition \
    StructureDefinition StructureMap Subscription Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein \
    SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task \
    TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription";

/// FHIR R5 (5.0.0).
const R5: &str = "\
    Account ActivityDefinition ActorDefinition AdministrableProductDefinition AdverseEvent AllergyIntolerance \
    Appointment AppointmentResponse ArtifactAssessment AuditEvent Basic Binary BiologicallyDerivedProduct \
    BiologicallyDerivedProductDispense BodyStructure Bundle CapabilityStatement CarePlan CareTeam ChargeItem \
    ChargeItemDefinition Citation Claim ClaimResponse ClinicalImpression ClinicalUseDefinition CodeSystem \
    Communication CommunicationRequest CompartmentDefinition Composition ConceptMap Condition ConditionDefinition \
    Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device \
    DeviceAssociation DeviceDefinition DeviceDispense DeviceMetric DeviceRequest DeviceUsage DiagnosticReport \
    DocumentReference Encounter EncounterHistory Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare \
    EventDefinition Evidence EvidenceReport EvidenceVariable ExampleScenario ExplanationOfBenefit \
    FamilyMemberHistory Flag FormularyItem GenomicStudy Goal GraphDefinition Group GuidanceResponse \
    HealthcareService ImagingSelection ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation \
    ImplementationGuide Ingredient InsurancePlan InventoryItem InventoryReport Invoice Library Linkage List Location \
    ManufacturedItemDefinition Measure MeasureReport Medication MedicationAdministration MedicationDispense \
    MedicationKnowledge MedicationRequest MedicationStatement MedicinalProductDefinition MessageDefinition MessageHeader MolecularSequence \
    NamingSystem NutritionIntake NutritionOrder NutritionProduct Observation ObservationDefinition \
    OperationDefinition OperationOutcome Organization OrganizationAffiliation PackagedProductDefinition Parameters \
    Patient PaymentNotice PaymentReconciliation Permission Person PlanDefinition Practitioner PractitionerRole \
    Procedure Provenance Questionnaire QuestionnaireResponse RegulatedAuthorization RelatedPerson \
    RequestOrchestration Requirements ResearchStudy ResearchSubject RiskAssessment Schedule SearchParameter \
    ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition StructureMap Subscription SubscriptionStatus \
    SubscriptionTopic Substance SubstanceDefinition SubstanceNucleicAcid SubstancePolymer SubstanceProtein \
    SubstanceReferenceInformation SubstanceSourceMaterial SupplyDelivery SupplyRequest Task TerminologyCapabilities \
    TestPlan TestReport TestScript Transport ValueSet VerificationResult VisionPrescription";

fn set(names: &'static str) -> HashSet<&'static str> {
    let mut set = HashSet::with_capacity(200);
    set.extend(names.split_ascii_whitespace());
    set
}

/// The name of a resource type, where the version has it; letter case counts (FHIR R4 §3.1.0.1.1).
pub fn find(version: Version, name: &str) -> Option<&'static str> {
    static R4_TYPES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| set(R4));
    static R5_TYPES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| set(R5));
    let types = match version {
        Version::R4 => &R4_TYPES,
        Version::R5 => &R5_TYPES,
    };
    types.get(name).copied()
}

/// Every type of a version, in the order of the alphabet.
pub fn all(version: Version) -> impl Iterator<Item = &'static str> {
    match version {
        Version::R4 => R4,
        Version::R5 => R5,
    }
    .split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_types_of_their_own() {
        for (version, count) in [(Version::R4, 146), (Version::R5, 158)] {
            let types: Vec<_> = all(version).collect();
            assert!(types.is_sorted() && types.len() == count, "{}", types.len());
            assert!(types.iter().all(|name| find(version, name) == Some(name)));
        }
        assert!(
            find(Version::R4, "DeviceUseStatement").is_some()
                && find(Version::R5, "DeviceUseStatement").is_none()
        );
        assert!(find(Version::R5, "DeviceUsage").is_some() && find(Version::R4, "DeviceUsage").is_none());
        for name in ["patient", "PATIENT", "Patients", "", "Resource", "DomainResource"] {
            assert_eq!(find(Version::R4, name), None, "{name}");
        }
    }
}
