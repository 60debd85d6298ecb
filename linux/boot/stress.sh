# SPDX-License-Identifier: GPL-2.0 OR MIT
# Everything at once for a while, then a driver that comes and goes with jobs in flight.
insert ringfence
insert ringfence_stress "seconds=$RINGFENCE_SECONDS"
waited=0
until dmesg | grep -q 'ringfence_stress: done'; do
    if [ "$waited" -ge $((RINGFENCE_SECONDS + 60)) ]; then
        say "FAILED ringfence_stress is not done"
        break
    fi
    sleep 1
    waited=$((waited + 1))
done
remove ringfence_stress
cycle=0
while [ "$cycle" -lt "$RINGFENCE_CYCLES" ]; do
    cycle=$((cycle + 1))
    insert ringfence_mock_gpu selfload=1
    remove ringfence_mock_gpu
done
say "$cycle cycles"
remove ringfence
