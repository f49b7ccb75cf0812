-- Return what a clock shows at a real time: what Clock.at of core/clock.py returns.
-- p_clock: a real time, the seconds that the clock is behind then, and its speed until it has caught up.
CREATE OR REPLACE FUNCTION hub_time(p_real timestamptz, p_clock text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN p_real - make_interval(secs => greatest(
    0, split_part(p_clock, ' ', 2)::float8
       - extract(epoch FROM p_real - split_part(p_clock, ' ', 1)::timestamptz)::float8
       * (split_part(p_clock, ' ', 3)::float8 - 1)));
