// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Planted bugs: each is found, within a number of seeds that is stated here.

use ringfence_sim::{Canary, Options, Simulator};

#[test]
#[ignore]
fn measure() {
    for canary in Canary::ALL.iter().copied() {
        let mut sims = Simulator::new(Options {
            canary: Some(canary),
            ..Options::default()
        });
        let mut needs = vec![];
        let mut what = std::collections::BTreeMap::new();
        let begun = std::time::Instant::now();
        for from in [0u64, 1_000_000, 2_000_000, 3_000_000, 4_000_000] {
            let found = (0..3000).find_map(|n| sims.run_seed(from + n).err().map(|v| (n, v)));
            match found {
                Some((n, v)) => {
                    needs.push(n + 1);
                    *what.entry(v.what).or_insert(0) += 1;
                }
                None => needs.push(u64::MAX),
            }
        }
        println!("{canary}: {needs:?} {:?}", begun.elapsed());
        for (what, n) in what {
            println!("    {n} {}", &what[..what.len().min(150)]);
        }
    }
}
