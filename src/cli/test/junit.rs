//! The result as JUnit's XML: one suite for each file.

use std::io::Write;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::policy::Policy;

use super::Ran;
use super::report::differences;

/// The whole document.
///
/// # Errors
/// It can't be written.
pub(super) fn document(policy: &Policy, ran: &[Ran<'_>]) -> Result<String, String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, policy, ran).map_err(|error| error.to_string())?;
    String::from_utf8(writer.into_inner()).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn write<W: Write>(writer: &mut Writer<W>, policy: &Policy, ran: &[Ran<'_>]) -> std::io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    // Cases of one file stand together.
    let suites: Vec<&[Ran<'_>]> = ran.chunk_by(|one, next| one.case.file == next.case.file).collect();
    writer.create_element("testsuites").write_inner_content(|writer| {
        for suite in suites {
            let file = suite.first().map_or("", |ran| &ran.case.file);
            let failed = suite.iter().filter(|ran| !ran.passed).count();
            writer
                .create_element("testsuite")
                .with_attributes([
                    ("name", clean(file).as_str()),
                    ("tests", suite.len().to_string().as_str()),
                    ("failures", failed.to_string().as_str()),
                ])
                .write_inner_content(|writer| suite.iter().try_for_each(|ran| case(writer, policy, ran)))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn case<W: Write>(writer: &mut Writer<W>, policy: &Policy, ran: &Ran<'_>) -> std::io::Result<()> {
    let (name, file) = (clean(&ran.case.name), clean(&ran.case.file));
    let line = ran.case.place.line.to_string();
    let element = writer.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", file.as_str()),
        ("file", file.as_str()),
        ("line", line.as_str()),
    ]);
    if ran.passed {
        element.write_empty()?;
        return Ok(());
    }
    let wrong: Vec<String> = differences(policy, ran)
        .into_iter()
        .filter_map(|(what, expected, came)| {
            let expected = expected.filter(|expected| *expected != came)?;
            Some(format!("{what}: expected {expected}, came {came}"))
        })
        .collect();
    let way: Vec<String> =
        ran.trace.iter().map(|(stage, note)| format!("{stage:?}: {note}").to_lowercase()).collect();
    element.write_inner_content(|writer| {
        writer
            .create_element("failure")
            .with_attribute(("message", clean(&wrong.join("; ")).as_str()))
            .write_text_content(BytesText::new(&clean(&way.join("\n"))))?;
        Ok(())
    })?;
    Ok(())
}

/// Without the letters that XML can't hold at all (XML 1.0 §2.2).
fn clean(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter,
            '\u{fffe}' | '\u{ffff}' => ' ',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect()
}
