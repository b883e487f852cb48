//! What day is it, for the templates that want to say so?

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The present time in UTC, as `format` says.
pub(super) fn format_now(format: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(seconds, format)
}

/// The directives of C's `strftime` that templates use; others stay as they are.
fn strftime(seconds: u64, format: &str) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days as i64);
    let (month_name, day_name) = (MONTHS[month - 1], DAYS[(days as usize + 4) % 7]);
    let two = |n: u64| format!("{n:02}");
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let written = match characters.next() {
            Some('d') => two(day),
            Some('m') => two(month as u64),
            Some('Y') => format!("{year:04}"),
            Some('y') => two(year.unsigned_abs() % 100),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => day_name.to_owned(),
            Some('a') => day_name[..3].to_owned(),
            Some('H') => two(second / 3600),
            Some('M') => two(second / 60 % 60),
            Some('S') => two(second % 60),
            Some('%') | None => "%".to_owned(),
            Some(other) => format!("%{other}"),
        };
        out.push_str(&written);
    }
    out
}

/// Year, month and day of the day `days` after 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, usize, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as usize, day as u64)
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn known_days_are_named() {
        assert_eq!(strftime(0, "%A %d %B %Y, %H:%M:%S"), "Thursday 01 January 1970, 00:00:00");
        assert_eq!(strftime(951_827_696, "%a %d %b %y %%"), "Tue 29 Feb 00 %");
        assert_eq!(strftime(1_767_225_599, "%Y-%m-%d %H:%M:%S"), "2025-12-31 23:59:59");
    }
}
