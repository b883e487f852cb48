//! Do the pictures show what the charts hold?

use super::*;
use crate::app::Look;
use crate::lab::Contender;

fn curve(name: &str, ink: Ink, line: Line, points: &[(f64, f64)]) -> Curve {
    let value = points.last().map(|(_, y)| format!("{y:.2}")).unwrap_or_default();
    Curve { name: name.to_owned(), value, ink, line, marker: None, points: points.to_vec() }
}

fn chart() -> Chart {
    let (tuned, valid) = (Ink::Contender(Contender::Tuned), Ink::Valid);
    let marked = |curve: Curve| Curve { marker: Some(Marker::Dot), ..curve };
    Chart {
        title: "Loss".to_owned(),
        run: "a <run> & \"more\"".to_owned(),
        unit: "nats".to_owned(),
        scale: Scale::FromZero { top: 4.0 },
        along: Along::Steps { last: 100.0 },
        curves: vec![
            curve("level", Ink::Quiet, Line::Dashed, &[(0.0, 3.0), (100.0, 3.0)]),
            curve("train", tuned, Line::Thick, &[(1.0, 4.0), (50.0, 1.0), (100.0, 0.5)]),
            marked(curve("valid", valid, Line::Thick, &[(0.0, 4.0), (100.0, 0.75)])),
        ],
        remark: "nothing yet".to_owned(),
    }
}

/// Pieces of a polyline in a colour.
fn lines(svg: &str, ink: Ink) -> Vec<&str> {
    let stroke = format!("stroke=\"{}\"", ink.hex(Look::Light));
    svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(&stroke)).collect()
}

#[test]
fn an_svg_holds_each_curve_in_its_colour_and_names_it() {
    let chart = chart();
    for shape in [Shape::Wide, Shape::Narrow] {
        let svg = svg(&chart, shape).unwrap();
        let (width, height) = shape.size();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains(&format!("viewBox=\"0 0 {width} {height}\"")));
        for word in ["Loss", "nats", "train", "0.50", "valid", "0.75", "step"] {
            assert!(svg.lines().any(|line| line == word), "{word} is missing in {svg}");
        }
        // One in the legend, one in the field.
        assert_eq!(lines(&svg, Ink::Contender(Contender::Tuned)).len(), 2);
        assert_eq!(lines(&svg, Ink::Valid).len(), 2);
        // One marker in the legend, two in the field.
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(lines(&svg, Ink::Quiet).len() > 8, "the level is not dashed");
    }
}

#[test]
fn a_falling_curve_falls() {
    let svg = svg(&chart(), Shape::Wide).unwrap();
    let points = |line: &str| -> Vec<(i32, i32)> {
        let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let point =
            |xy: &str| xy.split_once(',').map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).unwrap();
        points.split_whitespace().map(point).collect()
    };
    let train = points(lines(&svg, Ink::Contender(Contender::Tuned))[1]);
    assert_eq!(train.len(), 3);
    assert!(train.windows(2).all(|pair| pair[1].0 > pair[0].0 && pair[1].1 > pair[0].1), "{train:?}");
}

#[test]
fn words_stay_words_in_an_svg() {
    let svg = svg(&chart(), Shape::Wide).unwrap();
    assert!(svg.contains("a &lt;run&gt; &amp; &quot;more&quot;"), "{svg}");
    assert!(svg.contains("aria-label=\"Loss over steps: level 3.00, train 0.50, valid 0.75\""));
}

#[test]
fn a_chart_without_curves_says_why() {
    let empty = Chart { curves: Vec::new(), along: Along::Steps { last: 0.0 }, ..chart() };
    let svg = svg(&empty, Shape::Narrow).unwrap();
    assert!(svg.contains("nothing yet") && !svg.contains("<polyline"));
    let dir = tempfile::tempdir().unwrap();
    write_png(&empty, &dir.path().join("empty.png")).unwrap();
}

#[test]
fn sizes_stand_by_factors_and_are_named() {
    let along = Along::Sizes { what: "documents".to_owned(), low: 10.0, high: 1000.0 };
    let sizes = curve("bm25", Ink::Valid, Line::Thick, &[(10.0, 1.0), (100.0, 2.0), (1000.0, 3.0)]);
    let chart = Chart { along, curves: vec![sizes], ..chart() };
    assert!(chart.told().starts_with("Loss over documents: bm25 3.00"));
    let svg = svg(&chart, Shape::Wide).unwrap();
    for word in ["10", "100", "1,000", "documents"] {
        assert!(svg.lines().any(|line| line == word), "{word} is missing in {svg}");
    }
    let field = lines(&svg, Ink::Valid)[1].split("points=\"").nth(1).unwrap();
    let x: Vec<f64> = field
        .split('"')
        .next()
        .unwrap()
        .split_whitespace()
        .map(|xy| xy.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert!((x[1] - x[0] - (x[2] - x[1])).abs() < 3.0, "{x:?}");
}

#[test]
fn a_single_point_is_drawn() {
    let one = Curve { marker: Some(Marker::Up), ..curve("one", Ink::General, Line::Thick, &[(0.0, 2.0)]) };
    let chart = Chart {
        curves: vec![one],
        along: Along::Steps { last: 0.0 },
        scale: Scale::Log { low: 2.0, high: 2.0 },
        ..chart()
    };
    let svg = svg(&chart, Shape::Wide).unwrap();
    assert_eq!(svg.matches("<polygon").count(), 2);
}

#[test]
fn a_png_is_one_of_the_size_of_a_slide_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loss.png");
    write_png(&chart(), &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((number(16), number(20)), Shape::Wide.size());
    assert!(bytes.len() > 10_000, "an empty picture");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_png_that_cannot_be_written_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = write_png(&chart(), &dir.path().join("none").join("loss.png")).unwrap_err();
    assert!(error.to_string().contains("loss"), "{error}");
}

#[test]
fn no_two_inks_are_the_same_in_either_look() {
    for look in [Look::Dark, Look::Light] {
        let mut hexes: Vec<String> = Ink::ALL.iter().map(|ink| ink.hex(look)).collect();
        hexes.sort();
        hexes.dedup();
        assert_eq!(hexes.len(), Ink::ALL.len(), "{look:?}");
    }
}
