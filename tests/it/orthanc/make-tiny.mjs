// Writes tiny.dcm: one synthetic 1x1 grey image, as small as a DICOM file gets
// while being valid. The file is committed; run this only to change it.
// Usage: node tests/it/orthanc/make-tiny.mjs
import { writeFileSync } from 'node:fs';

const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';
const EXPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
// 2.25 is the arc under which anyone may make a UID out of a UUID.
const STUDY = '2.25.101';
const SERIES = '2.25.102';
const INSTANCE = '2.25.103';

// One data element, explicit VR, little endian. Values have an even length:
// UIDs are padded with NUL, text with a blank.
function element(group, number, vr, value) {
  let bytes;
  if (vr === 'US') {
    bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
  } else if (vr === 'UL') {
    bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
  } else if (Buffer.isBuffer(value)) {
    bytes = value;
  } else {
    const pad = vr === 'UI' ? '\0' : ' ';
    bytes = Buffer.from(value.length % 2 ? value + pad : value, 'latin1');
  }
  // OB has a 32-bit length after two reserved bytes, the others used here 16.
  const long = vr === 'OB';
  const header = Buffer.alloc(long ? 12 : 8);
  header.writeUInt16LE(group, 0);
  header.writeUInt16LE(number, 2);
  header.write(vr, 4, 'latin1');
  if (long) header.writeUInt32LE(bytes.length, 8);
  else header.writeUInt16LE(bytes.length, 6);
  return Buffer.concat([header, bytes]);
}

const meta = Buffer.concat([
  element(0x0002, 0x0001, 'OB', Buffer.from([0, 1])),
  element(0x0002, 0x0002, 'UI', SECONDARY_CAPTURE),
  element(0x0002, 0x0003, 'UI', INSTANCE),
  element(0x0002, 0x0010, 'UI', EXPLICIT_LITTLE_ENDIAN),
  element(0x0002, 0x0012, 'UI', '2.25.100'), // ImplementationClassUID
]);

const dataset = [
  element(0x0008, 0x0016, 'UI', SECONDARY_CAPTURE),
  element(0x0008, 0x0018, 'UI', INSTANCE),
  element(0x0008, 0x0020, 'DA', '20200101'), // StudyDate
  element(0x0008, 0x0030, 'TM', '120000'), // StudyTime
  element(0x0008, 0x0050, 'SH', ''), // AccessionNumber
  element(0x0008, 0x0060, 'CS', 'OT'), // Modality: other
  element(0x0008, 0x0064, 'CS', 'SYN'), // ConversionType: synthetic image
  element(0x0008, 0x0090, 'PN', ''), // ReferringPhysicianName
  element(0x0010, 0x0010, 'PN', 'SYNTHETIC^PATIENT'),
  element(0x0010, 0x0020, 'LO', 'p1'), // PatientID
  element(0x0010, 0x0030, 'DA', ''), // PatientBirthDate
  element(0x0010, 0x0040, 'CS', 'O'), // PatientSex
  element(0x0020, 0x000d, 'UI', STUDY),
  element(0x0020, 0x000e, 'UI', SERIES),
  element(0x0020, 0x0010, 'SH', '1'), // StudyID
  element(0x0020, 0x0011, 'IS', '1'), // SeriesNumber
  element(0x0020, 0x0013, 'IS', '1'), // InstanceNumber
  element(0x0028, 0x0002, 'US', 1), // SamplesPerPixel
  element(0x0028, 0x0004, 'CS', 'MONOCHROME2'),
  element(0x0028, 0x0010, 'US', 1), // Rows
  element(0x0028, 0x0011, 'US', 1), // Columns
  element(0x0028, 0x0100, 'US', 8), // BitsAllocated
  element(0x0028, 0x0101, 'US', 8), // BitsStored
  element(0x0028, 0x0102, 'US', 7), // HighBit
  element(0x0028, 0x0103, 'US', 0), // PixelRepresentation: unsigned
  element(0x7fe0, 0x0010, 'OB', Buffer.from([0x80, 0])),
];

writeFileSync(
  new URL('tiny.dcm', import.meta.url),
  Buffer.concat([
    Buffer.alloc(128), // preamble
    Buffer.from('DICM'),
    element(0x0002, 0x0000, 'UL', meta.length),
    meta,
    ...dataset,
  ]),
);
