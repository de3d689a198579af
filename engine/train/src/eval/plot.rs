//! The frontier as a picture: quality against thought tokens, as SVG.

use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Circle, Color, DashedLineSeries, DrawingArea, EmptyElement, IntoDrawingArea,
        IntoFont, LineSeries, PathElement, RGBColor, SVGBackend, SeriesLabelPosition, ShapeStyle,
        Text, WHITE,
    },
};

use super::{
    error::EvalError,
    frontier::{Frontier, FrontierPoint},
    report::Report,
};

const SIZE: (u32, u32) = (860, 560);
const INK: RGBColor = RGBColor(40, 40, 40);
const FRONTIER: RGBColor = RGBColor(20, 90, 180);
const RANDOM: RGBColor = RGBColor(150, 150, 150);
const BASELINES: [RGBColor; 4] =
    [RGBColor(200, 90, 20), RGBColor(30, 140, 80), RGBColor(140, 60, 160), RGBColor(170, 140, 20)];

/// Draws the report's frontier: what each threshold of the gate costs and gives, from never
/// thinking to always. The straight line between the two is a gate that draws lots; the
/// systems that cannot think are level lines.
///
/// # Errors
/// Fails when the report has no frontier, or drawing does.
pub fn frontier_svg(report: &Report) -> Result<String, EvalError> {
    let problem = |problem: String| EvalError::Option { option: "plot", problem };
    let frontier =
        report.frontier.as_ref().filter(|frontier| !frontier.points.is_empty()).ok_or_else(
            || problem("there is no frontier to draw: think about every query".into()),
        )?;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area, report, frontier).map_err(|error| problem(error.to_string()))?;
    drop(area);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area<'_>, report: &Report, frontier: &Frontier) -> Drawn {
    area.fill(&WHITE)?;
    let levels: Vec<(String, f64)> = report
        .rows
        .iter()
        .filter(|row| row.mode.is_none())
        .map(|row| (row.name(), row.scores.ndcg_at_10))
        .collect();
    let (low, high) = extent(frontier, &levels);
    let most = frontier.points.iter().map(|p| p.reasoning_tokens_per_query).fold(1.0, f64::max);
    let title = format!("{}: quality against thought tokens", report.data.name);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..most * 1.04, low..high)?;
    chart
        .configure_mesh()
        .x_desc("thought tokens per query")
        .y_desc("nDCG@10")
        .light_line_style(WHITE)
        .label_style(("sans-serif", 13).into_font().color(&INK))
        .draw()?;

    let ends = [frontier.points[0], frontier.points[frontier.points.len() - 1]];
    let random = ends.iter().map(at);
    chart
        .draw_series(DashedLineSeries::new(random, 5, 5, RANDOM.stroke_width(1)))?
        .label("a gate that draws lots")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], RANDOM));
    for (index, (name, level)) in levels.iter().enumerate() {
        let color = BASELINES[index % BASELINES.len()];
        chart
            .draw_series(LineSeries::new([(0.0, *level), (most * 1.04, *level)], color))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color));
    }
    chart
        .draw_series(LineSeries::new(frontier.points.iter().map(at), FRONTIER.stroke_width(2)))?
        .label("the gate's thresholds")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], FRONTIER.stroke_width(2)));

    chart.draw_series(marks(report).into_iter().map(|(x, y, name)| {
        EmptyElement::at((x, y))
            + Circle::new((0, 0), 4, ShapeStyle::from(FRONTIER).filled())
            + Text::new(name, (7, -14), ("sans-serif", 13).into_font().color(&INK))
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(RANDOM)
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The encoder's rows as points.
fn marks(report: &Report) -> Vec<(f64, f64, String)> {
    let rows = report.rows.iter().filter_map(|row| {
        let tokens = row.reasoning_tokens_per_query?;
        Some((tokens, row.scores.ndcg_at_10, row.mode.clone()?))
    });
    rows.collect()
}

fn at(point: &FrontierPoint) -> (f64, f64) {
    (point.reasoning_tokens_per_query, point.ndcg_at_10)
}

/// The range of quality that is shown, with air around it.
fn extent(frontier: &Frontier, levels: &[(String, f64)]) -> (f64, f64) {
    let shown =
        frontier.points.iter().map(|point| point.ndcg_at_10).chain(levels.iter().map(|l| l.1));
    let (low, high) =
        shown.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let air = ((high - low) * 0.12).max(0.01);
    (low - air, high + air)
}
