//! Signals: SSH names them, kernels number them.

use russh::Sig;

const NUMBERS: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (6, "ABRT"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
];

/// The number of a signal that may be sent; None: SSH has no such signal.
pub fn number(signal: &Sig) -> Option<i32> {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    };
    NUMBERS
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(number, _)| *number)
}

/// The signal with this number; one that SSH has no name for gets a local one, as RFC 4254 wants it.
pub fn named(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        4 => Sig::ILL,
        6 => Sig::ABRT,
        8 => Sig::FPE,
        9 => Sig::KILL,
        10 => Sig::USR1,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        14 => Sig::ALRM,
        15 => Sig::TERM,
        12 => Sig::Custom("USR2".to_string()),
        other => Sig::Custom(format!("{other}@stackyard")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_finds_its_way_back() {
        for (expected, _) in NUMBERS {
            assert_eq!(number(&named(*expected)), Some(*expected));
        }
        assert_eq!(number(&named(31)), None);
        assert_eq!(number(&Sig::Custom("STOP".into())), None);
    }
}
