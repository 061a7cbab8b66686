-- One row per product type, with the department and category under which it sells most.
SELECT
    product_type,
    arg_max(department, lines) AS department,
    arg_max(product_category, lines) AS category
FROM (
    SELECT product_type, department, product_category, count(*) AS lines
    FROM read_parquet($transactions)
    JOIN read_parquet($products) USING (product_id)
    WHERE product_type IS NOT NULL
        AND (department = 'FUEL' OR coalesce(product_category, '') NOT LIKE 'COUPON%')
    GROUP BY ALL
    ORDER BY ALL
)
GROUP BY product_type
ORDER BY product_type;
