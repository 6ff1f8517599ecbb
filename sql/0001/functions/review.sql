-- Decisions on answers, by whoever may see them and record answers.

CREATE FUNCTION geosearch.review(
    localization bigint, decision text, point geometry DEFAULT NULL, remark text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    answer record;
    made bigint;
BEGIN
    SELECT l.photo_uri, l.photo_sha256, l.estimate, jsonb_strip_nulls(jsonb_build_object(
        'lat', ST_Y(l.estimate), 'lon', ST_X(l.estimate), 'place', l.place,
        'agreement', l.agreement, 'radius_50_km', l.radius_50_km, 'radius_90_km', l.radius_90_km,
        'probability_within_km', l.probability_within_km, 'confident', l.confident,
        'calibration_fits', l.calibration_fits, 'low_information', l.low_information
    )) AS shown
    INTO answer FROM geosearch.localizations AS l WHERE l.id = localization;
    IF NOT FOUND THEN
        PERFORM refuse(
            format('there is no localization %s', coalesce(localization::text, 'NULL')),
            'Ids: SELECT id, photo_uri FROM geosearch.localizations'
        );
    ELSIF decision IS NULL OR decision NOT IN ('accept', 'move', 'reject', 'unsure') THEN
        PERFORM refuse(
            format('decision is %s', coalesce(decision, 'NULL')),
            'It is accept, move, reject or unsure.'
        );
    ELSIF (decision = 'move') <> (point IS NOT NULL) THEN
        PERFORM refuse(
            format('%s with %s point', decision, CASE WHEN point IS NULL THEN 'no' ELSE 'a' END),
            'Give a point to move to, and with no other decision.'
        );
    ELSIF NOT (ST_Y(point) BETWEEN -90 AND 90 AND ST_X(point) BETWEEN -180 AND 180) THEN
        PERFORM refuse_positions(ST_Y(point), ST_X(point));
    ELSIF decision = 'accept' AND answer.estimate IS NULL THEN
        PERFORM refuse(
            format('localization %s has no estimate', localization), 'Reject it, or move it.'
        );
    END IF;
    INSERT INTO geosearch.reviews (
        localization_id, photo_uri, photo_sha256, decision, point, shown, remark
    ) VALUES (
        localization, answer.photo_uri, answer.photo_sha256, decision,
        CASE decision WHEN 'accept' THEN answer.estimate ELSE point END, answer.shown, remark
    ) RETURNING id INTO made;
    RETURN made;
END
$$;

COMMENT ON FUNCTION geosearch.review(bigint, text, geometry, text) IS
    'Records what one decides on an answer: accept, move (to a point), reject, unsure; its id.';

CREATE FUNCTION geosearch.undo_review(localization bigint) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
DELETE FROM geosearch.reviews AS r
WHERE r.id = (
    SELECT max(own.id) FROM geosearch.reviews AS own
    WHERE own.localization_id = undo_review.localization
        AND own.recorded_by = current_user
)
RETURNING r.id;
END;

COMMENT ON FUNCTION geosearch.undo_review(bigint) IS
    'Takes back what one decided last on an answer; the id of the review, NULL if there was none.';
