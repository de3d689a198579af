//! A run's log as pictures: one SVG for each stage, a panel for each thing that moves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, IntoFont, LineSeries,
        PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
    },
};
use serde_json::Value;

use super::{TrainError, log::Log};

/// Folder of the pictures in a run's.
const FOLDER: &str = "curves";
const PANEL: (u32, u32) = (560, 300);
const COLUMNS: usize = 2;
const HEADING: u32 = 34;
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(150, 150, 150);
const COLORS: [RGBColor; 6] = [
    RGBColor(20, 90, 180),
    RGBColor(200, 90, 20),
    RGBColor(30, 140, 80),
    RGBColor(140, 60, 160),
    RGBColor(170, 140, 20),
    RGBColor(90, 90, 90),
];
/// Few points are marked, since a line of one point is not seen.
const MARKED_MAX: usize = 40;

/// What is drawn: a panel's title, and its lines as label and path in a log line.
const PANELS: [(&str, &[(&str, &str)]); 8] = [
    (
        "losses",
        &[
            ("thought", "/thought"),
            ("direct", "/direct"),
            ("reasoned", "/reasoned"),
            ("cosine distance", "/cosine"),
            ("similarity divergence", "/similarity"),
        ],
    ),
    ("weighted loss", &[("loss", "/loss")]),
    ("learning rate", &[("learning rate", "/learning_rate")]),
    ("norm of the gradient", &[("norm", "/gradient_norm")]),
    (
        "reward of sampled thoughts",
        &[
            ("reward", "/policy/reward"),
            ("reciprocal rank", "/policy/reciprocal_rank"),
            ("lead", "/policy/gap"),
            ("closed", "/policy/closed"),
        ],
    ),
    (
        "tokens of a thought",
        &[
            ("sampled", "/policy/thought_tokens"),
            ("held out, greedy", "/held_out/own/thought_tokens"),
        ],
    ),
    ("divergence from the reference", &[("divergence a token", "/policy/divergence")]),
    (
        "held-out nDCG@10",
        &[
            ("direct", "/held_out/direct/ndcg_at_10"),
            ("after written thoughts", "/held_out/written/ndcg_at_10"),
            ("after own thoughts", "/held_out/own/ndcg_at_10"),
        ],
    ),
];

/// A line of a panel.
#[derive(Debug, Clone, PartialEq)]
struct Curve {
    label: &'static str,
    /// Step and value, by step.
    points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Panel {
    title: &'static str,
    curves: Vec<Curve>,
}

/// A stage's log lines by step. A step and its evaluation have a line each.
#[derive(Debug, Default)]
struct StageLog {
    name: String,
    lines: BTreeMap<(u64, bool), Value>,
}

/// Draws a run's log, as far as it is, into `RUN/curves`. Gives the files, one for each
/// stage that has begun.
///
/// # Errors
/// Fails when the log cannot be read or has no line, or a file cannot be written.
pub fn plot_run(run: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let path = Log::path(run);
    let stages = read(&fs_err::read_to_string(&path)?);
    if stages.is_empty() {
        return Err(TrainError::file(&path, "has no line of a step"));
    }
    let folder = run.join(FOLDER);
    fs_err::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let file = folder.join(format!("{}-{}.svg", index + 1, file_name(&stage.name)));
        let svg = draw(stage).map_err(|problem| TrainError::file(&file, problem))?;
        fs_err::write(&file, svg)?;
        files.push(file);
    }
    Ok(files)
}

/// The stages of a log in the order of their beginning. Lines that a kill cut off are left
/// out, and of two lines for one step the later one counts.
fn read(text: &str) -> Vec<StageLog> {
    let mut stages: Vec<StageLog> = Vec::new();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(name), Some(step)) = (value["stage"].as_str(), value["step"].as_u64()) else {
            continue;
        };
        let known = stages.iter().position(|stage| stage.name == name);
        let at = known.unwrap_or_else(|| {
            stages.push(StageLog { name: name.to_owned(), lines: BTreeMap::new() });
            stages.len() - 1
        });
        let is_evaluation = value.get("held_out").is_some();
        stages[at].lines.insert((step, is_evaluation), value);
    }
    stages
}

/// A stage's name as part of a file's; recipes allow no others, a log might.
fn file_name(stage: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    stage.chars().take(64).map(plain).collect()
}

impl StageLog {
    /// The panels that have something to show.
    fn panels(&self) -> Vec<Panel> {
        let curve = |(label, path): &(&'static str, &str)| {
            let point = |(&(step, _), line): (&(u64, bool), &Value)| {
                Some((step as f64, line.pointer(path)?.as_f64()?))
            };
            let points: Vec<(f64, f64)> = self.lines.iter().filter_map(point).collect();
            (!points.is_empty()).then_some(Curve { label, points })
        };
        let panel = |(title, curves): &(&'static str, &[(&'static str, &str)])| {
            let curves: Vec<Curve> = curves.iter().filter_map(curve).collect();
            (!curves.is_empty()).then_some(Panel { title, curves })
        };
        PANELS.iter().filter_map(panel).collect()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(stage: &StageLog) -> Result<String, String> {
    let panels = stage.panels();
    let rows = panels.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32 + HEADING);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let all = || -> Drawn {
        area.fill(&WHITE)?;
        let heading = format!("stage {}", stage.name);
        let below = area.titled(&heading, ("sans-serif", 20).into_font().color(&INK))?;
        for (part, panel) in below.split_evenly((rows, COLUMNS)).iter().zip(&panels) {
            draw_panel(part, panel)?;
        }
        area.present()?;
        Ok(())
    };
    all().map_err(|error| error.to_string())?;
    drop(area);
    Ok(svg)
}

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Drawn {
    let points = || panel.curves.iter().flat_map(|curve| &curve.points);
    let steps = extent(points().map(|point| point.0), 0.02);
    let values = extent(points().map(|point| point.1), 0.08);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15).into_font().color(&INK))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(64)
        .build_cartesian_2d(steps.0..steps.1, values.0..values.1)?;
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|value| figure(*value))
        .light_line_style(WHITE)
        .label_style(("sans-serif", 12).into_font().color(&INK))
        .draw()?;
    for (index, curve) in panel.curves.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)))?
            .label(curve.label)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 14, y)], color));
        if curve.points.len() <= MARKED_MAX {
            let marks = curve.points.iter().map(|&point| Circle::new(point, 2, color.filled()));
            chart.draw_series(marks)?;
        }
    }
    if panel.curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(FAINT)
            .label_font(("sans-serif", 12).into_font().color(&INK))
            .draw()?;
    }
    Ok(())
}

/// The range of values with a share of air around it; never empty.
fn extent(values: impl Iterator<Item = f64>, air: f64) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = ((high - low) * air).max(high.abs().max(1e-9) * 0.02);
    (low - room, high + room)
}

/// A value on an axis, short whatever its size.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-2 => format!("{value:.1e}"),
        size if size < 10.0 => format!("{value:.3}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        "{\"stage\": \"reasoning\", \"step\": 0, \"held_out\": {\"direct\": {\"ndcg_at_10\": 0.2}}}\n",
        "{\"stage\": \"reasoning\", \"step\": 1, \"loss\": 9.0, \"thought\": 9.0, \"learning_rate\": 1e-4}\n",
        "{\"stage\": \"reasoning\", \"step\": 2, \"loss\": 8.0, \"thou\n",
        "{\"stage\": \"reasoning\", \"step\": 1, \"loss\": 3.0, \"thought\": 3.0, \"learning_rate\": 1e-4}\n",
        "{\"stage\": \"reasoning\", \"step\": 1, \"held_out\": {\"direct\": {\"ndcg_at_10\": 0.25}, ",
        "\"own\": {\"ndcg_at_10\": 0.3, \"thought_tokens\": 12.5}}}\n",
        "{\"stage\": \"rl\", \"step\": 1, \"loss\": -0.5, \"policy\": {\"reward\": 0.5, \"divergence\": 0.01}}\n",
    );

    fn curve(stage: &StageLog, title: &str, label: &str) -> Vec<(f64, f64)> {
        let panel = stage.panels().into_iter().find(|panel| panel.title == title);
        let curve = panel.and_then(|panel| panel.curves.into_iter().find(|c| c.label == label));
        curve.map_or_else(Vec::new, |curve| curve.points)
    }

    #[test]
    fn the_later_line_of_a_step_counts_and_cut_lines_do_not() {
        let stages = read(LOG);
        let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["reasoning", "rl"]);
        assert_eq!(curve(&stages[0], "losses", "thought"), [(1.0, 3.0)]);
        let direct = curve(&stages[0], "held-out nDCG@10", "direct");
        assert_eq!(direct, [(0.0, 0.2), (1.0, 0.25)]);
        assert_eq!(curve(&stages[0], "tokens of a thought", "held out, greedy"), [(1.0, 12.5)]);
        assert_eq!(
            curve(&stages[1], "divergence from the reference", "divergence a token").len(),
            1
        );
        assert!(curve(&stages[1], "losses", "thought").is_empty());
    }

    #[test]
    fn a_run_is_drawn_stage_by_stage() {
        let run = tempfile::tempdir().expect("temporary folder");
        fs_err::write(run.path().join("log.jsonl"), LOG).expect("writable");
        let files = plot_run(run.path()).expect("draws");
        let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
        assert_eq!(names, ["1-reasoning.svg", "2-rl.svg"]);
        let svg = fs_err::read_to_string(&files[0]).expect("written");
        for text in ["<svg", "stage reasoning", "held-out nDCG@10", "after own thoughts"] {
            assert!(svg.contains(text), "{text}");
        }
        fs_err::write(run.path().join("log.jsonl"), "nothing\n").expect("writable");
        assert!(plot_run(run.path()).is_err());
    }

    #[test]
    fn ranges_are_never_empty() {
        for values in [vec![], vec![0.0], vec![3.0, 3.0], vec![f64::NAN], vec![-1.0, 1e9]] {
            let (low, high) = extent(values.iter().copied(), 0.1);
            assert!(low < high, "{values:?}: {low} to {high}");
        }
    }
}
