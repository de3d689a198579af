//! The curves of one run as a picture: SVG, made by hand, since it is three simple panels.

use super::curve::Point;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
/// Left, right, top and bottom of the panel of curves.
const PANEL: [f64; 4] = [70.0, 520.0, 40.0, 330.0];
/// Where the bars begin, and how long the longest is.
const BARS: [f64; 2] = [660.0, 130.0];
const COLOURS: [&str; 6] = ["#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#999999"];
/// Recalls on the axis. The axis is of what is missed, so that the best are told apart.
const RECALLS: [f64; 6] = [0.8, 0.9, 0.95, 0.98, 0.99, 0.999];

/// One index of the picture.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
    pub(crate) build_seconds: Option<f64>,
    pub(crate) bytes_per_row: Option<f64>,
}

/// Draws recall against queries a second, build times and memory.
pub(crate) fn draw(title: &str, lines: &[Line]) -> String {
    let mut svg = String::new();
    // Writing to a string never fails.
    let _ = write!(
        svg,
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' \
         font-family='sans-serif' font-size='12'>\n<rect width='{WIDTH}' height='{HEIGHT}' \
         fill='white'/>\n<text x='{}' y='22' font-size='15'>{title}</text>\n",
        PANEL[0]
    );
    curves(&mut svg, lines);
    let builds = lines.iter().map(|line| line.build_seconds);
    bars(&mut svg, 60.0, "build, two threads, s", lines, builds);
    let memory = lines.iter().map(|line| line.bytes_per_row);
    bars(&mut svg, 215.0, "vectors and index, bytes a row", lines, memory);
    svg.push_str("</svg>\n");
    svg
}

/// Where a recall is: the logarithm of what is missed, from a fifth to a thousandth.
fn across(recall: f64) -> f64 {
    let missed = (1.0 - recall).clamp(0.001, 0.2).ln();
    let way = (0.2_f64.ln() - missed) / (0.2_f64.ln() - 0.001_f64.ln());
    PANEL[0] + way * (PANEL[1] - PANEL[0])
}

fn curves(svg: &mut String, lines: &[Line]) {
    let rates = || lines.iter().flat_map(|line| &line.points).map(|point| point.qps);
    let least = rates().fold(f64::MAX, f64::min).max(1.0).log10().floor();
    let most = rates().fold(1.0, f64::max).log10().ceil().max(least + 1.0);
    let up = |rate: f64| {
        let way = (rate.max(1.0).log10() - least) / (most - least);
        PANEL[3] - way * (PANEL[3] - PANEL[2])
    };
    let [left, right, top, bottom] = PANEL;
    for recall in RECALLS {
        let x = across(recall);
        let _ = writeln!(
            svg,
            "<path d='M{x:.1} {top}V{bottom}' stroke='#ddd'/><text x='{x:.1}' y='{}' \
             text-anchor='middle'>{recall}</text>",
            bottom + 16.0
        );
    }
    let decades = least as i32..=most as i32;
    for rate in decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(decade)))
    {
        if rate.log10() > most {
            break;
        }
        let y = up(rate);
        let _ = writeln!(
            svg,
            "<path d='M{left} {y:.1}H{right}' stroke='#ddd'/><text x='{}' y='{:.1}' \
             text-anchor='end'>{rate}</text>",
            left - 6.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x='{}' y='{}' text-anchor='middle'>recall@10; up: queries a second, one \
         thread</text>",
        (left + right) / 2.0,
        bottom + 36.0
    );
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let places = line.points.iter().filter(|point| point.recall >= 0.8);
        let places =
            places.map(|point| format!("{:.1},{:.1}", across(point.recall), up(point.qps)));
        let _ = writeln!(
            svg,
            "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>",
            places.collect::<Vec<_>>().join(" ")
        );
    }
}

fn bars(
    svg: &mut String,
    top: f64,
    title: &str,
    lines: &[Line],
    values: impl Iterator<Item = Option<f64>> + Clone,
) {
    let most = values.clone().flatten().fold(f64::MIN_POSITIVE, f64::max);
    let [left, length] = BARS;
    let _ = writeln!(svg, "<text x='{}' y='{top}' font-weight='bold'>{title}</text>", left - 110.0);
    for (number, ((line, value), colour)) in
        lines.iter().zip(values).zip(COLOURS.iter().cycle()).enumerate()
    {
        let y = top + 10.0 + 21.0 * number as f64;
        let wide = value.unwrap_or(0.0) / most * length;
        let said = value.map_or("not measured".to_owned(), |value| format!("{value:.0}"));
        let _ = writeln!(
            svg,
            "<text x='{}' y='{:.1}' text-anchor='end' fill='{colour}'>{}</text><rect x='{left}' \
             y='{y:.1}' width='{wide:.1}' height='14' fill='{colour}'/><text x='{:.1}' \
             y='{:.1}'>{said}</text>",
            left - 6.0,
            y + 12.0,
            line.name,
            left + wide + 5.0,
            y + 12.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_for_each_index_and_says_what_is_missing() {
        let point = |recall, qps| Point { ef: 10, recall, qps };
        let line = |name: &str, build_seconds| Line {
            name: name.to_owned(),
            points: vec![point(0.7, 9000.0), point(0.9, 5000.0), point(0.99, 800.0)],
            build_seconds,
            bytes_per_row: Some(700.0),
        };
        let svg = draw("a set", &[line("ours", Some(10.0)), line("other", None)]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("not measured") && svg.contains("a set"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!((across(0.8) - PANEL[0]).abs() < 1e-6);
        assert!((across(0.9999) - PANEL[1]).abs() < 1e-6);
    }
}
