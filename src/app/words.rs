//! How are numbers written, so that a room can read them and nothing shifts?

/// `0.914` as `91 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0).clamp(0.0, 100.0))
}

/// Three significant digits, at most two of them after the point: `0.41`, `1.90`, `19.4`, `1,234`.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => thousands(value.round().max(0.0) as u64),
    }
}

/// `12345` as `12,345`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as `0:38` or `1:02:38`.
pub(crate) fn clock(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–:––".to_owned();
    }
    let s = seconds.round() as u64;
    if s < 3600 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// Seconds in words for a wait: `12 s`, `3 min`. A day and more is a first guess that means nothing.
pub(crate) fn wait(seconds: f64) -> String {
    const A_DAY: f64 = 86_400.0;
    if seconds.is_nan() || seconds > A_DAY {
        "some time".to_owned()
    } else if seconds < 100.0 {
        format!("{:.0} s", seconds.max(0.0).ceil())
    } else {
        format!("{:.0} min", (seconds / 60.0).ceil())
    }
}

/// A learning rate: `1e-3`, `8.3e-4`.
pub(crate) fn rate(lr: f64) -> String {
    if lr == 0.0 || !lr.is_finite() {
        return "0".to_owned();
    }
    let text = format!("{lr:.1e}");
    text.replace(".0e", "e")
}

/// Megabytes (10^6), as downloads are counted.
pub(crate) fn megabytes(bytes: u64) -> u64 {
    (bytes + 500_000) / 1_000_000
}

/// Gigabytes (10^9), one digit after the point.
pub(crate) fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// A count of weights: `4.9 M`, `135 M`, `1.2 B`.
pub(crate) fn weights(n: usize) -> String {
    let n = n as f64;
    match n {
        _ if n < 1e4 => format!("{n}"),
        _ if n < 1e7 => format!("{:.1} M", n / 1e6),
        _ if n < 1e9 => format!("{:.0} M", n / 1e6),
        _ => format!("{:.1} B", n / 1e9),
    }
}

/// `1 check`, `3 checks`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(n as u64), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_a_person_writes_them() {
        assert_eq!(percent(0.914), "91 %");
        assert_eq!(
            (short(0.414), short(19.44), short(9.996), short(1234.4)),
            ("0.41".into(), "19.4".into(), "10.0".into(), "1,234".into())
        );
        assert_eq!(short(f64::NAN), "–");
        assert_eq!(
            (thousands(0), thousands(999), thousands(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(
            (clock(38.4), clock(3758.0), clock(f64::INFINITY)),
            ("0:38".into(), "1:02:38".into(), "–:––".into())
        );
        assert_eq!((rate(1e-3), rate(8.34e-4), rate(0.0)), ("1e-3".into(), "8.3e-4".into(), "0".into()));
        assert_eq!((wait(11.2), wait(301.0)), ("12 s".into(), "6 min".into()));
        assert_eq!((weights(4_884_480), weights(134_515_008)), ("4.9 M".into(), "135 M".into()));
        assert_eq!((count(1, "check"), count(1200, "check")), ("1 check".into(), "1,200 checks".into()));
    }
}
