//! Names the shared library, and writes include/eddy.h from src/ffi, one section after the other.

use std::{env, fs, path::Path, process};

/// The files of src/ffi, in the order of the header, each with the banner of its section.
const SECTIONS: [(&str, &str); 11] = [
    ("types", ""),
    ("errors", "errors"),
    (
        "callbacks",
        "callbacks: whom it is about, what came, what went wrong (NULL: nothing did), your own argument",
    ),
    ("event_loop", "loop"),
    ("opening", "opening"),
    ("reader", "reader"),
    ("writer", "writer"),
    ("server", "server"),
    ("tls", "tls: settings shared by any number of connections, on any thread"),
    ("custom", "making your own: transports, and the protocol between a transport and a reader"),
    ("looking", "looking"),
];

/// What cbindgen cannot say, and the section that it belongs to: below the last type with a body, or on top.
const MACROS: [(&str, &str); 2] = [
    (
        "opening",
        "
/* As a time: no bound. */
#define EDDY_NEVER UINT64_MAX

#ifndef __cplusplus /* C++ has none: eddy_options o = {}; o.size = sizeof o; o.limit = 1024; */
#define EDDY_OPTIONS(...) (&(eddy_options){ .size = sizeof(eddy_options), __VA_ARGS__ })
#endif
",
    ),
    (
        "reader",
        "/* As a count: all there is, to the end of the stream. As a mark: the default. */
#define EDDY_UNTIL_EOF SIZE_MAX

",
    ),
];

const WIDTH: usize = 110;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ffi");
    name_the_library();
    if let Some(header) = header() {
        write_if_different(Path::new("include/eddy.h"), &header);
    }
}

fn name_the_library() {
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "android" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" | "illumos" | "solaris") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libeddy.so.{major}");
            // A thread's loop is closed when the thread ends: the code for that must still be there.
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        Ok("macos" | "ios") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libeddy.{major}.dylib");
        }
        _ => {}
    }
}

/// The whole header; nothing when a source file is missing or does not parse, as rustc then says it better.
fn header() -> Option<String> {
    let rules = fs::read_to_string("src/ffi/mod.rs").ok()?;
    let rules: Vec<_> = rules.lines().map_while(|line| line.strip_prefix("//!")).map(plain).collect();
    let mut out = comment("", &rules);
    let number = ["MAJOR", "MINOR", "PATCH"]
        .iter()
        .map(|part| env::var(format!("CARGO_PKG_VERSION_{part}")).unwrap())
        .fold(0, |number, part| number << 8 | part.parse::<u32>().unwrap());
    out += &format!(
        "#ifndef EDDY_H
#define EDDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDDY_VERSION \"{}\"
#define EDDY_VERSION_NUMBER {number:#08x}

#ifdef __cplusplus
extern \"C\" {{
#endif

",
        env!("CARGO_PKG_VERSION"),
    );
    for (file, banner) in SECTIONS {
        if !banner.is_empty() {
            out +=
                &format!("/* ---- {banner} {} */\n\n", "-".repeat((WIDTH - 12).saturating_sub(banner.len())));
        }
        let mut section = section(&Path::new("src/ffi").join(file).with_extension("rs"))?;
        for (_, macros) in MACROS.iter().filter(|(owner, _)| *owner == file) {
            let body = section.rfind("\n}").map_or(0, |at| at + 1);
            let below = if body == 0 { 0 } else { body + section[body..].find('\n')? + 1 };
            section.insert_str(below, macros);
        }
        out += &section;
        out.push('\n');
    }
    out += "#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
    Some(out)
}

/// What one file declares, as cbindgen has it, in the order of the source and in our type.
fn section(file: &Path) -> Option<String> {
    let source = fs::read_to_string(file).ok()?;
    let names = public_names(&source);
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        documentation_style: cbindgen::DocumentationStyle::Cxx,
        line_length: usize::MAX,
        tab_width: 4,
        no_includes: true,
        usize_is_size_t: true,
        ..Default::default()
    };
    config.function.args = cbindgen::Layout::Horizontal;
    config.export.include.clone_from(&names); // else types that no function of this file names are left out
    let bindings = match cbindgen::Builder::new().with_config(config).with_src(file).generate() {
        Ok(bindings) => bindings,
        Err(cbindgen::Error::ParseSyntaxError { .. }) => return None,
        Err(error) => {
            println!("cargo::warning=no header: {error}");
            return None;
        }
    };
    let mut raw = Vec::new();
    bindings.write(&mut raw);
    Some(typeset(&String::from_utf8(raw).ok()?, &names))
}

/// The names that a file declares for C, in its order.
fn public_names(source: &str) -> Vec<String> {
    let kinds =
        ["pub struct ", "pub enum ", "pub type ", "pub extern \"C\" fn ", "pub unsafe extern \"C\" fn "];
    let declared = |line: &str| {
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)
    };
    source.lines().filter_map(declared).collect()
}

/// Comments in C's own form, cut after their first paragraph; long lines folded; a blank line only above a
/// comment, around a body, and between types and functions.
fn typeset(raw: &str, names: &[String]) -> String {
    let raw = raw
        .replace("ptrdiff_t", "intptr_t")
        .replace("struct eddy_", "eddy_")
        .replace("typedef eddy_", "typedef struct eddy_")
        .replace("typedef enum eddy_code {", "enum {")
        .replace("} eddy_code;", "};")
        .replace("**readers", "*readers[2]")
        .replace("**writers", "*writers[2]");
    let mut items = Vec::new();
    let (mut item, mut note, mut inside) = (String::new(), Vec::new(), false);
    for line in raw.lines().filter(|line| !line.is_empty()) {
        let (indent, text) = line.split_at(line.len() - line.trim_start().len());
        if let Some(text) = text.strip_prefix("///") {
            note.push(plain(text));
            continue;
        }
        item += &comment(indent, note.split(String::is_empty).next().unwrap_or_default());
        item += &fold(line);
        note.clear();
        inside = line.ends_with('{') || inside && !line.starts_with('}');
        if !inside {
            items.push((place(line, names), std::mem::take(&mut item)));
        }
    }
    items.sort_by_key(|(place, _)| *place);

    let mut out = String::new();
    let mut above = "";
    for (_, item) in &items {
        let body = item.contains('{') || above.contains('{');
        let other_kind = item.contains("typedef ") != above.contains("typedef ");
        if !out.is_empty() && (item.starts_with("/*") || body || other_kind) {
            out.push('\n');
        }
        out += item;
        above = item;
    }
    out
}

/// Where the source declares what this line declares, or the last line of it.
fn place(line: &str, names: &[String]) -> usize {
    let declares = |name: &String| {
        let ways = [format!(" {name};"), format!("{name}("), format!("(*{name})(")];
        ways.iter().any(|way| line.contains(way))
    };
    names.iter().position(declares).unwrap_or(0)
}

/// Rust's markdown as C has it.
fn plain(text: &str) -> String {
    text.trim_end().replace("[`", "").replace("`]", "").replace('`', "")
}

fn comment(indent: &str, lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!("{indent}/*{} */\n", lines.join(&format!("\n{indent} *"))),
    }
}

/// A long declaration goes on below its first parameter.
fn fold(line: &str) -> String {
    let parameters = line.rfind('(').map_or(0, |open| open + 1);
    let mut folded = String::new();
    let mut rest = line.to_owned();
    while let Some(comma) = rest.get(..WIDTH).filter(|_| rest.len() > WIDTH).and_then(|fits| fits.rfind(", "))
    {
        folded += &format!("{}\n", &rest[..=comma]);
        rest = format!("{:parameters$}{}", "", &rest[comma + 2..]);
    }
    folded + &rest + "\n"
}

fn write_if_different(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    let temp = path.with_extension(format!("h.{}", process::id()));
    let written = fs::create_dir_all(path.parent().unwrap())
        .and_then(|()| fs::write(&temp, text))
        .and_then(|()| fs::rename(&temp, path));
    if let Err(error) = written {
        println!("cargo::warning={} is out of date and cannot be written: {error}", path.display());
    }
}
