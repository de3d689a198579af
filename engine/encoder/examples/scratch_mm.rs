use burn::tensor::{Device, Tensor, TensorData};
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
fn main() {
    let d = Device::flex();
    let t = |r: usize, c: usize| Tensor::<2>::from_data(TensorData::new((0..r * c).map(|i| (i % 17) as f32 * 0.1).collect::<Vec<_>>(), [r, c]), &d);
    for (i, o) in [(576, 1536), (1536, 576), (576, 960), (576, 49152)] {
        let n = if o > 9999 { 2 } else { 30 };
        let view: Vec<_> = (0..n).map(|_| t(o, i).transpose()).collect();
        let cont: Vec<_> = (0..n).map(|_| t(i, o)).collect();
        for m in [1usize, 4, 8, 16, 128, 1024] {
            let x = t(m, i);
            let run = |ws: &Vec<Tensor<2>>| {
                let mut best = f64::MAX;
                for _ in 0..4 {
                    let s = cpu();
                    for w in ws { std::hint::black_box(x.clone().matmul(w.clone())); }
                    best = best.min(cpu() - s);
                }
                (m * n * i * o * 2) as f64 / best / 1e9
            };
            // swapped: W [o,i] x xT
            let runs = |ws: &Vec<Tensor<2>>| {
                let mut best = f64::MAX;
                for _ in 0..4 {
                    let s = cpu();
                    for w in ws { std::hint::black_box(w.clone().transpose().matmul(x.clone().transpose())); }
                    best = best.min(cpu() - s);
                }
                (m * n * i * o * 2) as f64 / best / 1e9
            };
            println!("{i}x{o} m={m}: view {:.1} contiguous {:.1} swapped {:.1} GFLOP/s", run(&view), run(&cont), runs(&view));
        }
    }
}
