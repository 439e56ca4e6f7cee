//! The modules of the crate depend on each other in one direction: the order of `src/lib.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The files of each module, with their text.
fn sources() -> BTreeMap<String, Vec<(String, String)>> {
    fn add(folder: &Path, module: Option<&str>, all: &mut BTreeMap<String, Vec<(String, String)>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let module = module.unwrap_or(&name);
            if path.is_dir() {
                add(&path, Some(module), all);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                all.entry(module.to_owned()).or_default().push((path.display().to_string(), text));
            }
        }
    }
    let mut all = BTreeMap::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut all);
    all
}

/// The modules that a text names in `crate::module`, outside of comments.
fn used(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned));
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    paths.map(|path| path.chars().take_while(|letter| is_name(*letter)).collect()).collect()
}

#[test]
fn modules_use_only_modules_above_them() {
    let mut sources = sources();
    let lib = &sources.remove("lib").unwrap()[0].1;
    let order: Vec<_> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let place = |module: &str| order.iter().position(|other| *other == module);
    let mut uses = 0;
    for (module, files) in &sources {
        // Generated code names the handwritten types of its schemas.
        if module == "generated" {
            continue;
        }
        let own = place(module).unwrap_or_else(|| panic!("{module} is not in src/lib.rs"));
        for (file, text) in files {
            for other in used(text) {
                let other_place = place(&other);
                assert!(other_place.is_some_and(|it| it <= own), "{file} uses crate::{other}");
                uses += 1;
            }
        }
    }
    assert!(uses > 50, "{uses}");
}
