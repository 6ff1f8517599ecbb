-- Kernel density on the sphere: the densest mode of weighted von Mises-Fisher kernels.
--
-- A kernel of bandwidth s km round the unit vector x has at y the density, per steradian,
--     C exp(-kappa |x - y|^2 / 2),   kappa = (6371 / s)^2,   C = kappa / (2 pi (1 - exp(-2 kappa)))
-- (Mardia and Jupp, Directional Statistics, 2000, section 9.3.2). From every neighbour a trajectory
-- climbs the sum f of all. The geometry is plain float8 arithmetic on unnested arrays: calls of
-- PostGIS would take most of the time.

-- One step uphill from each of the points (px, py, pz) in the field of kernels at (xs, ys, zs) with
-- weights ws. All lengths are in bandwidths: the sphere has the radius sqrt(kappa). Where log f is
-- concave and the top near, the step is Newton's on the tangent plane; elsewhere it is mean shift,
-- which never descends, if that is long, and if it is short a Newton step whose curvatures count by
-- their absolute values. What lies at rest on a saddle is pushed off it along the direction in which
-- f rises. Kernels farther than `reach` are left out. `height` is f at the point itself.
--
-- Every LATERAL ends in OFFSET 0: merged into the next, its expressions would be computed again for
-- each use of them.
CREATE FUNCTION geosearch.climb(
    xs float8[], ys float8[], zs float8[], ws float8[], radius float8, reach float8,
    px float8[], py float8[], pz float8[], arrived float8
)
RETURNS TABLE (
    number bigint, x float8, y float8, z float8, density float8, moving boolean, joins float8,
    height float8
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT
    p.number,
    radius * there.x / there.length,
    radius * there.y / there.length,
    radius * there.z / there.length,
    m.total * exp(least(1.0, (m.a * move.a + m.b * move.b) / 2)),
    slope.saddle OR sqrt(move.a * move.a + move.b * move.b) > greatest(
        arrived * CASE WHEN slope.newton THEN least(1.0, -slope.flattest) ELSE 0 END,
        1e-8,
        2e-15 * radius
    ),
    CASE WHEN slope.flattest < -0.3 THEN 0.2 ELSE 0.01 END,
    m.total
FROM unnest(px, py, pz) WITH ORDINALITY AS p (x, y, z, number)
-- A tangent basis (u, v) without singular points: Duff et al. 2017, Journal of Computer Graphics
-- Techniques 6(1).
CROSS JOIN LATERAL (
    SELECT
        1 + s * c * x * x AS ux, s * c * x * y AS uy, -s * x AS uz,
        c * x * y AS vx, s + c * y * y AS vy, -y AS vz,
        radius * radius AS square, radius * radius * (1 - 4e-15) - reach * reach / 2 AS horizon
    FROM (
        SELECT x, y, s, -1 / (s + z) AS c
        FROM (
            SELECT
                p.x / radius AS x, p.y / radius AS y, p.z / radius AS z,
                CASE WHEN p.z < 0 THEN -1.0::float8 ELSE 1.0::float8 END AS s
            OFFSET 0
        ) AS unit
        OFFSET 0
    ) AS unit
    OFFSET 0
) AS basis
-- Moments of the kernels felt at p, in tangent coordinates (a, b) and along p (c).
-- Where kernels are narrow, products lose the digits of short chords, and coordinates do not.
CROSS JOIN LATERAL (
    SELECT
        total, sum_a / total AS a, sum_b / total AS b,
        sum_aa / total AS aa, sum_ab / total AS ab, sum_bb / total AS bb,
        sum_c / total / (radius * radius) AS upright
    FROM (
        SELECT
            sum(f) AS total, sum(f * a) AS sum_a, sum(f * b) AS sum_b,
            sum(f * a * a) AS sum_aa, sum(f * a * b) AS sum_ab, sum(f * b * b) AS sum_bb,
            sum(f * c) AS sum_c
        FROM (
            SELECT
                k.w * exp(CASE
                    WHEN radius < 1000 THEN k.c - basis.square
                    ELSE (
                        (k.x - p.x) * (k.x - p.x)
                        + (k.y - p.y) * (k.y - p.y)
                        + (k.z - p.z) * (k.z - p.z)
                    ) / -2
                END) AS f,
                k.x * basis.ux + k.y * basis.uy + k.z * basis.uz AS a,
                k.x * basis.vx + k.y * basis.vy + k.z * basis.vz AS b,
                k.c
            FROM (
                SELECT x, y, z, w, x * p.x + y * p.y + z * p.z AS c
                FROM unnest(xs, ys, zs, ws) AS k (x, y, z, w)
                OFFSET 0
            ) AS k
            WHERE k.c > basis.horizon
            OFFSET 0
        ) AS felt
    ) AS sums
    OFFSET 0
) AS m
-- The Hessian of log f; less its mean curvature it is ((skew, across), (across, -skew)).
CROSS JOIN LATERAL (
    SELECT
        skew, across, steepness,
        middle + spread AS flattest,
        middle + spread > 1e-6 AND steepness <= 1e-6 AS saddle,
        steepness <= 0.5 AS newton,
        1 / greatest(abs(middle + spread), 1e-6) AS one,
        1 / greatest(abs(middle - spread), 1e-6) AS other,
        greatest(spread, 1e-300) AS spread
    FROM (
        SELECT *, sqrt(skew * skew + across * across) AS spread
        FROM (
            SELECT
                (m.aa - m.a * m.a - m.bb + m.b * m.b) / 2 AS skew,
                m.ab - m.a * m.b AS across,
                (m.aa - m.a * m.a + m.bb - m.b * m.b) / 2 - m.upright AS middle,
                sqrt(m.a * m.a + m.b * m.b) AS steepness
            OFFSET 0
        ) AS hessian
        OFFSET 0
    ) AS hessian
    OFFSET 0
) AS slope
-- A function of a symmetric 2 x 2 matrix, here |H|^-1, is a combination of it and the identity.
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN newton OR saddle THEN a * held ELSE m.a END AS a,
        CASE WHEN newton OR saddle THEN b * held ELSE m.b END AS b,
        CASE WHEN newton OR saddle THEN 1 ELSE m.upright END AS up
    FROM (
        SELECT a, b, newton, saddle, least(1, 0.5 / greatest(sqrt(a * a + b * b), 1e-300)) AS held
        FROM (
            SELECT
                newton,
                saddle,
                CASE
                    WHEN saddle THEN 0.1 * cos(atan2(across, skew) / 2)
                    ELSE even * m.a + uneven * (skew * m.a + across * m.b)
                END AS a,
                CASE
                    WHEN saddle THEN 0.1 * sin(atan2(across, skew) / 2)
                    ELSE even * m.b + uneven * (across * m.a - skew * m.b)
                END AS b
            FROM (
                SELECT
                    slope.newton, slope.saddle, slope.skew, slope.across,
                    (slope.one + slope.other) / 2 AS even,
                    (slope.one - slope.other) / 2 / slope.spread AS uneven
                OFFSET 0
            ) AS inverse
            OFFSET 0
        ) AS step
        OFFSET 0
    ) AS step
    OFFSET 0
) AS move
CROSS JOIN LATERAL (
    SELECT x, y, z, sqrt(x * x + y * y + z * z) AS length
    FROM (
        SELECT
            move.up * p.x + move.a * basis.ux + move.b * basis.vx AS x,
            move.up * p.y + move.a * basis.uy + move.b * basis.vy AS y,
            move.up * p.z + move.a * basis.uz + move.b * basis.vz AS z
        OFFSET 0
    ) AS there
    OFFSET 0
) AS there;
END;

COMMENT ON FUNCTION geosearch.climb IS
    'One step uphill in a density, for geosearch.density_mode.';

-- The modes of kernels at positions in degrees, densest first: where each is, the density per
-- steradian there, and the share of the weight that climbs to it. Where only the densest is wanted,
-- others may be missing.
CREATE FUNCTION geosearch.density_modes(
    lats float8[], lons float8[], weights float8[], bandwidth_km float8 DEFAULT NULL,
    densest boolean DEFAULT false
)
RETURNS TABLE (lat float8, lon float8, density float8, mass float8)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000 ROWS 5
SET search_path = pg_catalog, geosearch, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    -- Of the Earth, in bandwidths.
    radius CONSTANT float8 := 6371.0 / usable_bandwidth(
        coalesce(bandwidth_km, neighbour_spacing(lats, lons, weights))
    );
    -- Kernels are cut off at six bandwidths, e^-18 of their peak, while trajectories are on their
    -- way, and for the last steps at nine, e^-40, where no digit of a sum shows them.
    cut CONSTANT float8 := 6;
    no_digit CONSTANT float8 := 9;
    xs float8[]; ys float8[]; zs float8[]; ws float8[];
    kx float8[]; ky float8[]; kz float8[]; kw float8[];
    px float8[]; py float8[]; pz float8[]; masses float8[];
    densities float8[]; heights float8[]; reaches float8[]; underway boolean[];
    leaders integer[]; movers integer;
BEGIN
    -- Neighbours at one position are one kernel; the lightest, 1e-9 together, move nothing.
    -- Coordinates below 1e-20 are zero, lest their squares underflow.
    SELECT
        array_agg(x ORDER BY number), array_agg(y ORDER BY number),
        array_agg(z ORDER BY number), array_agg(share ORDER BY number)
    INTO xs, ys, zs, ws
    FROM (
        SELECT
            row_number() OVER (ORDER BY share DESC, lat, lon) AS number,
            sum(share) OVER (ORDER BY share, lat DESC, lon DESC) AS lighter,
            share,
            CASE WHEN abs(x) < 1e-20 THEN 0 ELSE radius * x END AS x,
            CASE WHEN abs(y) < 1e-20 THEN 0 ELSE radius * y END AS y,
            CASE WHEN abs(z) < 1e-20 THEN 0 ELSE radius * z END AS z
        FROM (
            SELECT
                lat, lon, sum(share) AS share,
                cos(radians(lat)) * cos(radians(lon)) AS x,
                cos(radians(lat)) * sin(radians(lon)) AS y,
                sin(radians(lat)) AS z
            FROM (
                SELECT lat + 1 - 1 AS lat, lon + 1 - 1 AS lon, share  -- as in great_circle_km
                FROM unnest(lats, lons, kernel_shares(lats, lons, weights))
                    AS neighbour (lat, lon, share)
            ) AS neighbour
            WHERE share > 0
            GROUP BY lat, lon
            OFFSET 0
        ) AS placed
    ) AS kernels
    WHERE lighter > 1e-9;
    IF xs IS NULL THEN
        RETURN;
    END IF;

    -- Until the last steps, many kernels are searched by cells of a twentieth of a bandwidth.
    kx := xs; ky := ys; kz := zs; kw := ws;
    IF cardinality(xs) > 300 THEN
        SELECT
            array_agg(x * radius / length ORDER BY w DESC, x),
            array_agg(y * radius / length ORDER BY w DESC, x),
            array_agg(z * radius / length ORDER BY w DESC, x),
            array_agg(w ORDER BY w DESC, x)
        INTO kx, ky, kz, kw
        FROM (
            SELECT x, y, z, w, sqrt(x * x + y * y + z * z) AS length
            FROM (
                SELECT
                    sum(w * x) / sum(w) AS x, sum(w * y) / sum(w) AS y, sum(w * z) / sum(w) AS z,
                    sum(w) AS w
                FROM unnest(xs, ys, zs, ws) AS k (x, y, z, w)
                GROUP BY floor(20 * x), floor(20 * y), floor(20 * z)
            ) AS means
        ) AS cells;
    END IF;

    px := kx; py := ky; pz := kz; masses := kw;
    densities := '{}'; underway := '{}'; reaches := '{}';
    movers := cardinality(px);
    FOR step IN 1..200 LOOP
        -- Those that still move, which come first, make a step.
        SELECT
            array_agg(s.x) || px[movers + 1:], array_agg(s.y) || py[movers + 1:],
            array_agg(s.z) || pz[movers + 1:], array_agg(s.density) || densities[movers + 1:],
            array_agg(s.moving) || underway[movers + 1:],
            array_agg(s.joins) || reaches[movers + 1:], array_agg(s.height)
        INTO px, py, pz, densities, underway, reaches, heights
        FROM (
            SELECT s.* FROM climb(
                kx, ky, kz, kw, radius, cut, px[:movers], py[:movers], pz[:movers], 0.05
            ) AS s
            ORDER BY s.number
        ) AS s;

        -- At any mode m, some kernel within sqrt(2) bandwidths has at its centre a density of f(m) / e
        -- or more: by Jensen's inequality f(x) >= f(m) exp(-|x - m|^2 / 2) on average over the kernels
        -- felt at m, and where the Hessian is negative their mean square distance is 2 at most. So the
        -- kernels that can hold the densest mode, and those connected with them, are all that matter.
        IF densest AND step = 1 THEN
            WITH RECURSIVE connected AS (
                SELECT x, y, z, number
                FROM unnest(kx, ky, kz, heights) WITH ORDINALITY AS k (x, y, z, height, number)
                WHERE height > (SELECT exp(-1.25) * max(h) FROM unnest(heights) AS h)
                UNION
                SELECT k.x, k.y, k.z, k.number
                FROM connected AS p, unnest(kx, ky, kz) WITH ORDINALITY AS k (x, y, z, number)
                WHERE abs(k.z - p.z) < cut AND abs(k.x - p.x) < cut AND abs(k.y - p.y) < cut
            )
            SELECT
                array_agg(kx[number]), array_agg(ky[number]), array_agg(kz[number]),
                array_agg(kw[number]), array_agg(px[number]), array_agg(py[number]),
                array_agg(pz[number]), array_agg(densities[number]), array_agg(underway[number]),
                array_agg(reaches[number])
            INTO kx, ky, kz, kw, px, py, pz, densities, underway, reaches
            FROM (SELECT number FROM connected ORDER BY number) AS c;
            masses := kw;
            movers := cardinality(px);
        END IF;

        -- Those that have met go on as one, to move if the first of them does.
        SELECT array_agg(leader ORDER BY number) INTO leaders
        FROM unnest(px, py, pz, reaches) WITH ORDINALITY AS p (x, y, z, reach, number)
        CROSS JOIN LATERAL (
            SELECT coalesce(min(o.number), p.number)::integer AS leader
            FROM unnest(px[:movers], py[:movers], pz[:movers], reaches[:movers]) WITH ORDINALITY
                AS o (x, y, z, reach, number)
            WHERE o.number < p.number AND abs(o.z - p.z) <= p.reach AND abs(o.x - p.x) <= p.reach
                AND (o.x - p.x) ^ 2 + (o.y - p.y) ^ 2 + (o.z - p.z) ^ 2
                    <= least(o.reach, p.reach) ^ 2
        ) AS met;
        FOR number IN 1..cardinality(leaders) LOOP
            leaders[number] := leaders[leaders[number]];
            IF leaders[number] < number THEN
                masses[leaders[number]] := masses[leaders[number]] + masses[number];
            END IF;
        END LOOP;
        SELECT
            array_agg(x), array_agg(y), array_agg(z), array_agg(mass), array_agg(density),
            array_agg(moving), array_agg(reach), count(*) FILTER (WHERE moving)
        INTO px, py, pz, masses, densities, underway, reaches, movers
        FROM (
            SELECT *
            FROM unnest(px, py, pz, masses, densities, underway, reaches, leaders) WITH ORDINALITY
                AS p (x, y, z, mass, density, moving, reach, leader, number)
            WHERE leader = number
            ORDER BY moving DESC, number
        ) AS p;
        EXIT WHEN movers = 0;
    END LOOP;

    -- The last digits, of all, or of those that may be the densest.
    SELECT
        array_agg(x), array_agg(y), array_agg(z), array_agg(p.mass), array_agg(true)
    INTO px, py, pz, masses, underway
    FROM unnest(px, py, pz, masses, densities) AS p (x, y, z, mass, density)
    WHERE NOT densest OR p.density >= (SELECT max(d) FROM unnest(densities) AS d) * (1 - 1e-3);
    FOR step IN 1..20 LOOP
        SELECT
            array_agg(s.x), array_agg(s.y), array_agg(s.z), array_agg(s.density),
            array_agg(s.moving)
        INTO px, py, pz, densities, underway
        FROM (
            SELECT s.*
            FROM climb(xs, ys, zs, ws, radius, no_digit, px, py, pz, 3e-4) AS s
            ORDER BY s.number
        ) AS s;
        EXIT WHEN NOT true = ANY (underway);
    END LOOP;
    RETURN QUERY
    SELECT
        degrees(atan2(z, sqrt(x ^ 2 + y ^ 2))),
        CASE WHEN degrees(atan2(y, x)) >= 180 THEN -180 ELSE degrees(atan2(y, x)) END,
        p.density * radius ^ 2 / (2 * pi() * (1 - exp(-2 * least(radius ^ 2, 300)))),
        p.mass
    FROM unnest(px, py, pz, densities, masses) AS p (x, y, z, density, mass)
    ORDER BY p.density DESC, p.mass DESC;
END
$$;

COMMENT ON FUNCTION geosearch.density_modes IS
    'The modes of weighted kernels at positions in degrees, densest first: latitude, longitude, '
    'density per steradian, and the share of the weight that climbs to each; with `densest`, not '
    'necessarily more than the first.';

CREATE FUNCTION geosearch.density_mode(
    lats float8[], lons float8[], weights float8[], bandwidth_km float8 DEFAULT NULL,
    OUT lat float8, OUT lon float8, OUT density float8, OUT agreement float8
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 100000
BEGIN ATOMIC
SELECT m.lat, m.lon, m.density, m.mass
FROM geosearch.density_modes(lats, lons, weights, bandwidth_km, true) AS m
LIMIT 1;
END;

COMMENT ON FUNCTION geosearch.density_mode(float8[], float8[], float8[], float8) IS
    'The densest mode of weighted kernels at positions in degrees: latitude, longitude, density per '
    'steradian, and the share of the weight that climbs to it. The bandwidth is that of '
    'neighbour_spacing if none is given.';
